"""The tables of test accuracy: a row is one training of several seeds, beside the paper's number.

A file holds the run that its name promises: its network's options, and those of its rule here. What
a paper reports is the registry's.
"""

import dataclasses
from typing import Any

from leastcontrol.papers.registry import (
    DEEP_TABLE,
    FASHION_TABLE,
    FEEDFORWARD_TABLE,
    RECURRENT_TABLE,
    Experiment,
)

from .description import ACCURACY, DASH, SPREAD_OF_3, Column, File, Table, share, words

Rule = tuple[str, dict[str, Any]]


def _rule(word: str) -> Rule:
    return word.replace("-", " "), {"rule": word}


def _least(name: str, controller: str, **options: Any) -> Rule:
    return f"least control, {name}", {"rule": "least-control", "controller": controller, **options}


def _deep(name: str, teaching: str, **options: Any) -> Rule:
    return name, {"rule": "deep-feedback-control", "teaching": teaching, **options}


# By the end of a file's name: the rule for the reader, and its options.
RULES = {
    "backpropagation": _rule("backpropagation"),
    "recurrent-backpropagation": _rule("recurrent-backpropagation"),
    "automatic": _least("automatic", "automatic"),
    "dynamic-inversion": _least("dynamic inversion", "dynamic-inversion"),
    "energy": _least("energy", "energy"),
    "kolen-pollack": _least("Kolen–Pollack feedback", "kolen-pollack"),
    "linear-feedback": _least("linear feedback", "linear-feedback"),
    # So small a leak brings targets to a probability of 0.97 on average at rest, first weights.
    "strong-control": _least("strong", "automatic", alpha=1e-4, alpha_convention="batch-mean"),
    "half": _least("20 to 80 % of the loss asked", "automatic", strength="0.2:0.8"),
    "strong": _least("5 to 95 % asked", "automatic", strength="0.05:0.95"),
    "strength-50": _least("50 % of the loss asked", "automatic", strength="0.5"),
    "strength-85": _least("85 % of the loss asked", "automatic", strength="0.85"),
    "dfc-backpropagation": _rule("backpropagation"),
    "dfc-nudged": _deep("deep feedback control, nudged", "nudged", phase="steady-state"),
    "dfc-strong": _deep("strong feedback that learns", "strong", phase="steady-state"),
    "single-phase": _deep(
        "strong feedback, simulated single phase", "strong", feedback_learning="single-phase"
    ),
    "dfc-direct-feedback-alignment": _rule("direct-feedback-alignment"),
}
INVERSIONS = ("dynamic-inversion", "energy", "kolen-pollack", "linear-feedback")
# The registry's rows that are not named like the files.
REGISTERED = {
    "dfc-backpropagation": "backpropagation",
    "dfc-nudged": "nudged",
    "dfc-strong": "strong-two-phases",
    "single-phase": "strong-single-phase",
}


def _runs(
    name: str, system: str, /, *ends: str, paper: Experiment | None = None, **network: Any
) -> list[File]:
    """Returns the files NAME-END of one network, whose rows may be those of an experiment."""
    published = {row.name: row.expectations[0] for row in paper.rows} if paper else {}
    files = []
    for end in ends:
        rule, options = RULES[end]
        holds = {f"config.{option}": value for option, value in {**network, **options}.items()}
        known = _shown(published.get(REGISTERED.get(end, end)))
        files.append(
            File(f"{name}-{end}.json", holds, {"system": system, "rule": rule, "paper": known})
        )
    return files


def _depth(system: str, name: str, *ends: str, **options: Any) -> list[File]:
    network = {"data": "fashion-mnist", "system": system, **options}
    return _runs(f"fashion-mnist-{system}", name, *ends, **network)


def _shown(published: Any) -> str:
    if published is None:
        return "–"
    spread = "" if published.spread is None else f" ± {published.spread:.2f}"
    return f"{published.value:.2f}{spread}"


FEEDFORWARD = {"data": "mnist", "system": "feedforward", "hidden": [256, 256]}
DEEP = {"system": "feedforward", "hidden": [256, 256, 256]}
FEEDBACK = (*REGISTERED, "dfc-direct-feedback-alignment")

SYSTEM = words("system", "system")
RULE = words("rule", "rule")
SEEDS = Column("seeds", "per_seed", lambda seeds: f"{len(seeds)}")
EPOCHS = Column("epochs", "epochs", "{:d}".format)
SOLVED = Column("solved, %", "solve.converged_fraction", share)
STEPS = Column("steps a solve", "solve.steps_mean", "{:.1f}".format)
TIME = Column("ms a step", "mean.step_ms_median", "{:.2f}".format)

RESULTS = Table(
    "docs/results.md",
    "results",
    "leastcontrol train --seeds 0 1 2 --results FILE",
    [
        *_runs(
            *("mnist-feedforward", "feedforward 2×256", "backpropagation", *INVERSIONS),
            paper=FEEDFORWARD_TABLE,
            **FEEDFORWARD,
        ),
        *_runs(
            *("mnist-rnn", "RNN 256", "recurrent-backpropagation", *INVERSIONS),
            paper=RECURRENT_TABLE,
            **{"data": "mnist", "system": "rnn", "hidden": [256]},
        ),
        *_runs(
            *("mnist-rnn-free", "RNN 256, no penalty", "recurrent-backpropagation"),
            paper=RECURRENT_TABLE,
            **{"data": "mnist", "system": "rnn", "hidden": [256]},
        ),
        *_runs("mnist-feedforward", "feedforward 2×256", "strong-control", **FEEDFORWARD),
    ],
    [SYSTEM, RULE, ACCURACY, SEEDS, Column("the paper, %", "paper"), SOLVED, STEPS, TIME],
)
DEPTH = dataclasses.replace(
    RESULTS,
    page="docs/depth-and-space.md",
    marker="depth",
    files=[
        *_depth("convolutional", "convolutional", "backpropagation", "dynamic-inversion"),
        *_depth("residual", "residual", "backpropagation", "automatic", "half", "strong"),
        *_depth(
            *("deep-equilibrium", "deep equilibrium, swapped cell"),
            *("recurrent-backpropagation", "dynamic-inversion"),
            cell="swapped",
        ),
    ],
    columns=[
        *(SYSTEM, RULE, ACCURACY),
        Column("training loss, nats", "mean.train_nll std.train_nll", SPREAD_OF_3, absent=DASH),
        *(SEEDS, EPOCHS, SOLVED, STEPS),
        # Times are of different days; the ratios of steps stand in docs/performance.md.
        Column(
            "loss removed, mean (last epoch), %",
            "strength.removed_mean strength.removed_end",
            lambda mean, end: f"{100 * mean:.1f} ({100 * end:.1f})",
            absent=DASH,
        ),
    ],
)
TABLES = (
    RESULTS,
    dataclasses.replace(
        RESULTS,
        marker="feedback-control",
        files=[
            *_runs("mnist", "MNIST", *FEEDBACK, paper=DEEP_TABLE, data="mnist", **DEEP),
            *_runs(
                *("fashion-mnist", "Fashion-MNIST", *FEEDBACK),
                paper=FASHION_TABLE,
                data="fashion-mnist",
                **DEEP,
            ),
        ],
        columns=[
            words("data", "system"),
            *(RULE, ACCURACY, SEEDS, EPOCHS),
            Column("the authors, %", "paper"),
            Column("‖e_end‖/‖e_0‖", "diagnostics.error_ratio.all", "{:.3f}".format, absent=DASH),
            Column(
                "condition (at random)",
                "diagnostics.condition.all diagnostics.condition.random",
                "{:.2f} ({:.2f})".format,
                absent=DASH,
            ),
            *(SOLVED, TIME),
        ],
    ),
    DEPTH,
    dataclasses.replace(
        DEPTH,
        page="docs/strength.md",
        marker="strength-mnist",
        files=_runs(
            *("mnist-feedforward", "feedforward 2×256"),
            *("backpropagation", "strength-50", "strength-85"),
            **FEEDFORWARD,
        ),
    ),
)
