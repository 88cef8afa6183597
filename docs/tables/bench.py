"""The tables of the benchmark in the documentation, made from the rows that it wrote.

    python -m tables.bench           # rewrites the tables where they stand
    python -m tables.bench --check   # exits with 1 if it would change any

The rows are those of all files `results/bench-*.json`, which `leastcontrol bench --json` writes;
the parts of a step are those of `results/profile-rnn.json`, by `benchmarks/joint_step.py`, of
`results/profile-feedforward.json`, by `benchmarks/sweep_step.py`, and of
`results/profile-conv.json`, by `benchmarks/convolutional_step.py`, steps of a deep equilibrium
model those of `results/deep-equilibrium-step.json`, by `benchmarks/deep_equilibrium_step.py`,
errors of gradients those of `results/gradient-accuracy.json`, and the steps of deep feedback
control those of `results/deep-feedback-control.json`.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .accuracy import TablesError, read_result, rewrite, script, share, table_row, with_commands

STEPS_PAGE = Path("docs/how-to-choose-a-solver.md")
GROWTH_PAGE = Path("docs/performance.md")
DEPTH_PAGE = Path("docs/depth-and-space.md")
NUMBERS = ("ms", "ratio", "steps", "converged_fraction", "batch_size")
WORDS = ("case", "weights", "data", "rule", "ratio_to", "command")

Row = dict[str, Any]


def read(results: Path) -> list[Row]:
    """Returns the rows of all benchmarks in a folder, in the order of the files' names.

    **Raises:** `TablesError` for a file that is damaged or was not written by the benchmark.
    """
    return [row for path in sorted(results.glob("bench-*.json")) for row in _read_file(path)]


def _read_file(path: Path) -> list[Row]:
    rows = read_result(path)
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise TablesError(
            f"{path} does not hold the rows of a benchmark: give a file that `leastcontrol bench "
            "--json FILE` wrote."
        )
    return rows


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(word), str) for word in WORDS):
        return False
    pair = row.get("ratio_quartiles")
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    known = [*(row.get(name) for name in NUMBERS), *pair]
    names = ("strength", "residual", "peak_mb", "exponent", "exponent_error")
    perhaps = [row.get(name) for name in names]
    if "grown" in row:
        known.append(row.get("size"))
    return all(map(_is_number, [*known, *(value for value in perhaps if value is not None)]))


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def steps_table(rows: Sequence[Row]) -> str:
    """Returns what a step of every rule costs as a Markdown table, with the commands below it."""
    lines = [
        "| case | weights | rule | strength β | times the baseline | ms a step | solved, % "
        "| steps a solve | largest residual | memory, MB |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lower, upper = row["ratio_quartiles"]
        itself = row["rule"] == row["ratio_to"]
        cells = (
            f"{row['case']}, {row['data']}",
            row["weights"],
            row["rule"],
            _or_none(row["strength"], "{:.3g}"),
            "1" if itself else f"{row['ratio']:.2f} [{lower:.2f}, {upper:.2f}]",
            f"{row['ms']:.2f}",
            share(row["converged_fraction"]),
            f"{row['steps']:.1f}",
            _or_none(row["residual"], "{:.1e}"),
            _or_none(row["peak_mb"], "{:.1f}"),
        )
        lines.append(table_row(cells))
    return with_commands(lines, (row["command"] for row in rows))


def growth_table(rows: Sequence[Row]) -> str:
    """Returns the exponents of all curves as a Markdown table, with the commands below it."""
    lines = [
        "| case | grown | rule | sizes | time ∝ size^p, p | times the baseline, first size "
        "| last size |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for case, data, grown, rule in dict.fromkeys(map(_curve, rows)):
        curve = [row for row in rows if _curve(row) == (case, data, grown, rule)]
        first, last = curve[0], curve[-1]
        error = _or_none(first.get("exponent_error"), " ± {:.2f}")
        cells = (
            f"{case}, {data}",
            grown,
            rule,
            f"{first['size']} to {last['size']}",
            f"{_or_none(first.get('exponent'), '{:.2f}')}{error}",
            f"{first['ratio']:.2f}",
            f"{last['ratio']:.2f}",
        )
        lines.append(table_row(cells))
    return with_commands(lines, (row["command"] for row in rows))


def _curve(row: Row) -> tuple[str, str, str, str]:
    return row["case"], row["data"], row["grown"], row["rule"]


def _or_none(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def profile_table(path: Path) -> str:
    """Returns the parts of a joint step as a Markdown table, with the command below it.

    **Raises:** `TablesError` for a file that is damaged or was not written by the script.
    """
    profile = read_result(path)
    try:
        rows = [(own["part"], own["us"]) for own in profile["parts"]]
        lines = ["| part of a step of the batch | CPU time, µs | quartiles |", "|---|---:|---:|"]
        for part, us in rows:
            spread = f"{us['lower']:.0f} to {us['upper']:.0f}"
            lines.append(f"| {part} | {us['median']:.0f} | {spread} |")
        return with_commands(lines, [profile["command"]])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold the parts of a step: run the script of benchmarks/ that writes "
            "it again, with --json FILE."
        ) from error


def sweeps_table(path: Path) -> str:
    """Returns the parts of a step, and what its solves were like at several weights.

    **Raises:** `TablesError` for a file that is damaged or was not written by a script.
    """
    table, found = profile_table(path), read_result(path)
    try:
        lines = [
            "| weights | × backpropagation | solved, % | sweeps a solve | at most "
            "| ended after 2, 3, 4, 5, % |",
            "|---|---:|---:|---:|---:|---|",
        ]
        for own in found["states"]:
            cells = (
                own["weights"],
                f"{own['ratio']:.2f}",
                share(own["solved_fraction"]),
                f"{own['sweeps_mean']:.2f}",
                f"{own['sweeps_max']}",
                ", ".join(share(part) for part in own["share_after_sweeps"][1:5]),
            )
            lines.append(table_row(cells))
        return "\n".join([table, "", *lines])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold the solves of a step: run the script of benchmarks/ that writes "
            "it again, with --json FILE."
        ) from error


def convolutional_table(path: Path) -> str:
    """Returns the parts of a step on kinks, its solves, and those of other kinds of sweeps.

    **Raises:** `TablesError` for a file that is damaged or was not written by the script.
    """
    table, found = sweeps_table(path), read_result(path)
    try:
        lines = [
            f"| sweeps, at most {found['most_sweeps']} | solved, % | sweeps a solve, of the solved "
            "|",
            "|---|---:|---:|",
        ]
        for own in found["kinds"]:
            cells = (own["sweeps"], share(own["solved"]), f"{own['sweeps_mean']:.2f}")
            lines.append(table_row(cells))
        return "\n".join([table, "", *lines])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold kinds of sweeps: run `python benchmarks/convolutional_step.py "
            "--json FILE` again."
        ) from error


def accuracy_table(path: Path) -> str:
    """Returns errors of gradients as a Markdown table, with the command below it.

    **Raises:** `TablesError` for a file that is damaged or was not written by the script.
    """
    found = read_result(path)
    try:
        lines = [
            "| weights | rule | tolerance | error of the gradient | products a sample "
            "| solved, % |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for own in found["gradients"]:
            cells = (
                own["weights"],
                own["rule"],
                f"{own['tolerance']:.0e}",
                f"{own['error']:.1e}",
                f"{own['products']:.1f}",
                share(own["solved"]),
            )
            lines.append(table_row(cells))
        return with_commands(lines, [found["command"]])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold errors of gradients: run `python "
            "benchmarks/gradient_accuracy.py --json FILE` again."
        ) from error


def control_table(path: Path) -> str:
    """Returns the steps of deep feedback control as a Markdown table, with the command below it.

    **Raises:** `TablesError` for a file that is damaged or was not written by the script.
    """
    found = read_result(path)
    try:
        lines = [
            "| step | ms | processor, ms | times the published one | times the repaired one "
            "| temporary memory, MB | of a tenth of the time points, MB |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for own in found["steps"]:
            cells = (
                own["name"],
                f"{1e3 * own['median_seconds']:.0f}",
                f"{1e3 * own['processor_seconds']:.0f}",
                f"{own['times_published']:.0f}",
                f"{own['times_repaired']:.0f}",
                f"{own['temporary_mb']:.1f}",
                f"{own['temporary_mb_of_a_tenth']:.1f}",
            )
            lines.append(table_row(cells))
        held = f"The process held {found['process_mb']:.0f} MB at most, compilations included."
        return with_commands([*lines, "", held], [found["command"]])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold steps of deep feedback control: run `python "
            "benchmarks/deep_feedback_control.py --json FILE` again."
        ) from error


def equilibrium_table(path: Path) -> str:
    """Returns the steps of a deep equilibrium model as a Markdown table, with its command below it.

    **Raises:** `TablesError` for a file that is damaged or was not written by the script.
    """
    found = read_result(path)
    try:
        few, many = (str(budget) for budget in found["budgets"])
        lines = [
            "| cell | weights | rule | ms | × recurrent backpropagation | steps a solve "
            f"| solved, % | temporary memory for {few} steps, MB | for {many} |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for own in found["rows"]:
            cells = (
                own["cell"],
                own["weights"],
                own["rule"],
                f"{own['ms']['median']:.0f}",
                f"{own['ratio']['median']:.2f}",
                f"{own['steps']:.1f}",
                share(own["converged_fraction"]),
                f"{own['temporary_mb'][few]:.1f}",
                f"{own['temporary_mb'][many]:.1f}",
            )
            lines.append(table_row(cells))
        lines += [
            "",
            "| solves end after | recurrent backpropagation, ms | least control, α = 320, ms | × |",
            "|---:|---:|---:|---:|",
        ]
        for own in found["cut_short"]:
            baseline, least = (f"{ms['median']:.1f}" for ms in own["ms"])
            cells = (f"{own['budget']}", baseline, least, f"{own['ratio']['median']:.2f}")
            lines.append(table_row(cells))
        return with_commands(lines, [found["command"]])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold steps of a deep equilibrium model: run `python "
            "benchmarks/deep_equilibrium_step.py --json FILE` again."
        ) from error


def update(root: Path, results: Path, *, check: bool = False) -> list[Path]:
    """Rewrites the tables in the pages under `root` and returns the pages that changed.

    A table without rows stays as it is. With `check` nothing is written: the pages that would
    change are returned.

    **Raises:** `TablesError`. Nothing is written unless every file could be read.
    """
    rows = read(results)
    if not rows:
        raise TablesError(
            f"{results} holds no rows of a benchmark: make them with `leastcontrol bench --json "
            f"{results}/bench-NAME.json`."
        )
    parts = []
    for page, part, make in (
        (STEPS_PAGE, "bench", steps_table),
        (GROWTH_PAGE, "growth", growth_table),
    ):
        own = [row for row in rows if ("grown" in row) == (part == "growth")]
        if own:
            parts.append((page, part, make(own)))
    for name, page, part, make in (
        ("profile-rnn.json", GROWTH_PAGE, "profile", profile_table),
        ("gradient-accuracy.json", GROWTH_PAGE, "accuracy", accuracy_table),
        ("deep-feedback-control.json", GROWTH_PAGE, "control", control_table),
        ("profile-feedforward.json", GROWTH_PAGE, "feedforward-step", sweeps_table),
        ("profile-conv.json", DEPTH_PAGE, "convolutional-step", convolutional_table),
        ("deep-equilibrium-step.json", DEPTH_PAGE, "equilibrium-step", equilibrium_table),
    ):
        if (results / name).exists():
            parts.append((page, part, make(results / name)))
    return rewrite(root, parts, check=check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status: 1 for a stale table, 2 for a mistake."""
    description = "Make the tables of the benchmark from its rows."
    return script(arguments, update, "bench", description)


if __name__ == "__main__":
    sys.exit(main())
