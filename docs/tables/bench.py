"""The tables of what a step costs: of `leastcontrol bench`, and of the scripts in benchmarks/."""

import dataclasses
from typing import Any

from .description import DASH, EMPTY, SPREAD, Column, File, Row, Table, named, share, under, words

SOLVER = "docs/how-to-choose-a-solver.md"
PERFORMANCE = "docs/performance.md"
DEPTH = "docs/depth-and-space.md"
COMPARISON = "docs/comparison.md"

CASE = words("case", "case data", "{:s}, {:s}".format)
WEIGHTS = words("weights", "weights")
RULE = words("rule", "rule")
STEPS = Column("steps a solve", "steps", "{:.1f}".format)
SOLVED = Column("solved, %", "converged_fraction", share)


def _times(rule: str, baseline: str, ratio: float, lower: float, upper: float) -> str:
    return "1" if rule == baseline else f"{ratio:.2f} [{lower:.2f}, {upper:.2f}]"


def _curves(rows: list[Row]) -> list[Row]:
    """Returns one row for each curve: that of its first size, with the one of its last."""
    curves: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        curve = tuple(row[name] for name in ("case", "data", "grown", "rule"))
        curves.setdefault(curve, []).append(row)
    return [curve[0].plus(last=curve[-1].entries) for curve in curves.values()]


def _priced(document: Any) -> list[Any]:
    """Returns the rows of a comparison, with names of its ways that a path can hold."""
    rows = under("rows")(document)
    return [{**row, "times": _joined(row["ratio_to_custom_vjp"])} for row in rows]


def _joined(ways: dict[str, Any]) -> dict[str, Any]:
    return {"-".join(name.replace(",", "").split()): ratio for name, ratio in ways.items()}


def _times_by_hand(heading: str, way: str) -> Column:
    """Returns the column of a way's ratios to the hand-written one, with their quartiles."""
    paths = f"times.{way}.1 times.{way}.0 times.{way}.2"
    return Column(f"{heading}, ×", paths, "{:.2f} [{:.2f}, {:.2f}]".format)


def _script(name: str) -> str:
    return f"python benchmarks/{name}.py --json FILE"


# The parts of a step, as several scripts have timed them.
PARTS = Table(
    PERFORMANCE,
    "profile",
    _script("joint_step"),
    [File("profile-rnn.json")],
    [
        words("part of a step of the batch", "part"),
        Column("CPU time, µs", "us.median", "{:.0f}".format),
        Column("quartiles", "us.lower us.upper", "{:.0f} to {:.0f}".format),
    ],
    under("parts"),
)
FEEDFORWARD = dataclasses.replace(
    PARTS,
    marker="feedforward-step",
    writer=_script("sweep_step"),
    files=[File("profile-feedforward.json")],
)
CONVOLUTIONAL = dataclasses.replace(
    PARTS,
    page=DEPTH,
    marker="convolutional-step",
    writer=_script("convolutional_step"),
    files=[File("profile-conv.json", {"most_sweeps": 40})],
)
SOLVES = [
    WEIGHTS,
    Column("× backpropagation", "ratio", "{:.2f}".format),
    Column("solved, %", "solved_fraction", share),
    Column("sweeps a solve", "sweeps_mean", "{:.2f}".format),
    Column("at most", "sweeps_max", "{:d}".format),
    words(
        "ended after 2, 3, 4, 5, %",
        "share_after_sweeps",
        lambda shares: ", ".join(map(share, shares[1:5])),
    ),
]
KINDS = [
    words("sweeps, at most 40", "sweeps"),
    Column("solved, %", "solved", share),
    Column("sweeps a solve, of the solved", "sweeps_mean", "{:.2f}".format),
]
EQUILIBRIUM = Table(
    DEPTH,
    "equilibrium-step",
    _script("deep_equilibrium_step"),
    [File("deep-equilibrium-step.json")],
    [
        words("cell", "cell"),
        WEIGHTS,
        RULE,
        Column("ms", "ms.median", "{:.0f}".format),
        Column("× recurrent backpropagation", "ratio.median", "{:.2f}".format),
        STEPS,
        SOLVED,
        Column("temporary memory for 50 steps, MB", "temporary_mb.50", "{:.1f}".format),
        Column("for 200", "temporary_mb.200", "{:.1f}".format),
    ],
    under("rows"),
    commands=False,
)
LAYER = Table(
    COMPARISON,
    "settle-memory",
    _script("settle_memory"),
    [File("settle-memory.json")],
    [
        words("way", "way"),
        *(
            Column(f"{steps} iterations, MB", f"temporary_mb.{budget}", "{:.2f}".format)
            for steps, budget in (("10", 10), ("100", 100), ("1 000", 1000))
        ),
    ],
    under("rows"),
)
FIRST_CALLS = Table(
    PERFORMANCE,
    "first-calls",
    _script("first_calls"),
    [File("first-calls.json")],
    [
        words("first call", "case"),
        Column("s", "seconds", "{:.2f}".format),
        Column("of the processor, s", "processor_seconds", "{:.2f}".format),
    ],
    named("first_calls", "case"),
    commands=False,
)
OVERHEAD = Table(
    PERFORMANCE,
    "first-calls",
    _script("first_calls"),
    [File("first-calls.json")],
    [
        words("call", "call"),
        Column("calls", "calls", "{:d}".format),
        Column("traced again", "retraces", "{:d}".format),
        Column("ms", "milliseconds", "{:.2f}".format),
        Column("under `jax.jit`, ms", "compiled_milliseconds", "{:.2f}".format),
    ],
    named("overhead", "call"),
)
CUT_SHORT = [
    Column("solves end after", "budget", "{:d}".format),
    Column("recurrent backpropagation, ms", "ms.0.median", "{:.1f}".format),
    Column("least control, α = 320, ms", "ms.1.median", "{:.1f}".format),
    Column("×", "ratio.median", "{:.2f}".format),
]

TABLES = (
    Table(
        SOLVER,
        "bench",
        "leastcontrol bench --json FILE",
        [File("bench-mnist.json")],
        [
            CASE,
            WEIGHTS,
            RULE,
            Column("strength β", "strength", "{:.3g}".format, absent=EMPTY),
            Column(
                "times the baseline",
                "rule ratio_to ratio ratio_quartiles.0 ratio_quartiles.1",
                _times,
            ),
            Column("ms a step", "ms", "{:.2f}".format),
            SOLVED,
            STEPS,
            Column("largest residual", "residual", "{:.1e}".format, absent=EMPTY),
            Column("memory, MB", "peak_mb", "{:.1f}".format, absent=EMPTY),
        ],
        list,
    ),
    Table(
        PERFORMANCE,
        "peers",
        "leastcontrol bench --data mnist --cases feedforward rnn --rules automatic "
        "dynamic-inversion --peers --json FILE",
        [File("bench-peers.json")],
        [
            CASE,
            RULE,
            Column("ms a step", "ms", "{:.2f}".format),
            Column(
                "times the baseline",
                "rule ratio_to ratio ratio_quartiles.0 ratio_quartiles.1",
                _times,
            ),
            Column("its gradient's distance", "difference", "{:.0e}".format, absent=DASH),
            Column("memory, MB", "peak_mb", "{:.1f}".format, absent=EMPTY),
        ],
        list,
    ),
    Table(
        PERFORMANCE,
        "growth",
        "leastcontrol bench --grow width depth batch --json FILE",
        [File("bench-growth.json")],
        [
            CASE,
            words("grown", "grown"),
            RULE,
            words("sizes", "size last.size", "{:d} to {:d}".format),
            Column("time ∝ size^p, p", "exponent exponent_error", SPREAD, absent=EMPTY),
            Column("times the baseline, first size", "ratio", "{:.2f}".format),
            Column("last size", "last.ratio", "{:.2f}".format),
        ],
        list,
        _curves,
    ),
    Table(
        COMPARISON,
        "settle-price",
        _script("settle_price"),
        [File("settle-price.json")],
        [
            Column("n", "size", "{:d}".format),
            words("contraction", "contraction"),
            Column("`custom_vjp` by hand, ms", "milliseconds.custom_vjp", "{:.2f}".format),
            _times_by_hand("the same, as exact as `settle`", "custom_vjp-as-exact"),
            _times_by_hand("`settle`", "settle"),
            _times_by_hand("Optimistix with GMRES", "optimistix-gmres"),
            _times_by_hand("unrolled", "unrolled"),
            _times_by_hand("`least_control`", "least-control"),
        ],
        _priced,
    ),
    FIRST_CALLS,
    OVERHEAD,
    LAYER,
    dataclasses.replace(
        LAYER,
        marker="settle-failures",
        columns=[
            words("where", "case"),
            words("way", "way"),
            Column("called found, of 8", "found", "{:d}".format, absent=DASH),
            words("gradient", "gradient"),
            Column("its relative error", "error", "{:.0e}".format, absent=DASH),
            words("what it says", "says"),
        ],
        rows=under("failures"),
        commands=False,
    ),
    PARTS,
    FEEDFORWARD,
    dataclasses.replace(FEEDFORWARD, columns=SOLVES, rows=under("states"), commands=False),
    CONVOLUTIONAL,
    dataclasses.replace(CONVOLUTIONAL, columns=SOLVES, rows=under("states"), commands=False),
    dataclasses.replace(CONVOLUTIONAL, columns=KINDS, rows=under("kinds"), commands=False),
    EQUILIBRIUM,
    dataclasses.replace(EQUILIBRIUM, columns=CUT_SHORT, rows=under("cut_short"), commands=True),
    Table(
        PERFORMANCE,
        "accuracy",
        _script("gradient_accuracy"),
        [File("gradient-accuracy.json")],
        [
            WEIGHTS,
            RULE,
            Column("tolerance", "tolerance", "{:.0e}".format),
            Column("error of the gradient", "error", "{:.1e}".format),
            Column("products a sample", "products", "{:.1f}".format),
            Column("solved, %", "solved", share),
        ],
        under("gradients"),
    ),
    Table(
        "docs/tutorials/reading-certificates.md",
        "gradient-faults",
        _script("gradient_certificate"),
        [File("gradient-certificate.json")],
        [
            words("fault", "fault"),
            Column("samples", "samples", "{:d}".format),
            Column("error, median", "median_error", "{:.1e}".format),
            Column("named, %", "named", share),
            Column("predicted over true", "least_ratio largest_ratio", "{:.2f} to {:.2f}".format),
        ],
        under("faults"),
    ),
    Table(
        PERFORMANCE,
        "control",
        _script("deep_feedback_control"),
        [File("deep-feedback-control.json")],
        [
            words("step", "name"),
            Column("ms", "median_seconds", "{:.0f}".format, 1e3),
            Column("processor, ms", "processor_seconds", "{:.0f}".format, 1e3),
            Column("times the published one", "times_published", "{:.0f}".format),
            Column("times the repaired one", "times_repaired", "{:.0f}".format),
            Column("temporary memory, MB", "temporary_mb", "{:.1f}".format),
            Column("of a tenth of the time points, MB", "temporary_mb_of_a_tenth", "{:.1f}".format),
        ],
        under("steps"),
        below=lambda row: (
            f"The process held {row['process_mb']:.0f} MB at most, compilations included."
        ),
    ),
)
