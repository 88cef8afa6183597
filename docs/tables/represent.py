"""The table of implicit representations in the documentation, made from what its runs have left.

    python -m tables.represent           # rewrites it where it stands
    python -m tables.represent --check   # exits with 1 if it would

A row is the file of one rule at one factor Ω of the activities, `results/represent-RULE-Ω.json`,
which `leastcontrol represent --seeds ... --results FILE` wrote. A picture's figure is its mean over
the seeds; a cell is the mean over the pictures of a kind with their deviation. Both rules begin
with the same weights, so that the row below the two of an Ω is the mean over the pictures of the
difference picture by picture, with the standard error of that mean.
"""

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .accuracy import TablesError, read_result, rewrite, script, share, table_row, with_commands

PAGE = Path("docs/depth-and-space.md")
PART = "pictures"
# The baseline first.
NAMES = {
    "recurrent-backpropagation": "recurrent backpropagation",
    "least-control": "least control",
}
FREQUENCIES = (15, 30)
KINDS = ("natural", "text")
# What two rules may have apart from each other in a comparison.
OWN = ("rule", "gradient_clip")

_MEANS = ("converged_fraction", "solve_steps", "step_ms_median")

Row = dict[str, Any]


def read(results: Path) -> list[list[Row]]:
    """Returns for every Ω the summaries of the rules whose files exist, the baseline first.

    **Raises:** `TablesError` for a file that is damaged or of another kind, and for two runs that
    differ in more than the rule and its clipping.
    """
    return [_read_at(results, frequency) for frequency in FREQUENCIES]


def _read_at(results: Path, frequency: int) -> list[Row]:
    rows = []
    for rule in NAMES:
        path = results / f"represent-{rule}-{frequency}.json"
        if not path.exists():
            continue
        values = read_result(path)
        if not _is_summary(values, rule, frequency):
            raise TablesError(
                f"{path} is not the summary of {rule} on pictures with several seeds: give a file "
                f"that `leastcontrol represent --rule {rule} --frequency {frequency} --seeds 0 1 2 "
                "--results FILE` wrote."
            )
        rows.append(values)
    if len(rows) == 2:
        _check_alike(*(row["config"] for row in rows))
    return rows


def _is_summary(values: Any, rule: str, frequency: int) -> bool:
    try:
        config = values["config"]
        numbers = [values["mean"][name] for name in _MEANS]
        for own in values["per_seed"]:
            numbers += [picture["psnr_test"] for picture in own["pictures"]]
        images = [[picture["image"] for picture in own["pictures"]] for own in values["per_seed"]]
        alike = all(own == config["images"] for own in images)
        named = (config["rule"], config["frequency"]) == (rule, frequency)
        both = all(len(_of_kind(values, kind)) > 1 for kind in KINDS)
        return (
            alike
            and named
            and both
            and isinstance(values["command"], str)
            and all(map(_finite, numbers))
        )
    except (KeyError, TypeError, AttributeError, statistics.StatisticsError):
        return False


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _check_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    for name in first.keys() | second.keys():
        if name not in OWN and first.get(name) != second.get(name):
            raise TablesError(
                f"The runs of the two rules have {name} = {first.get(name)} and "
                f"{second.get(name)}, but they are compared picture by picture: run both with the "
                "same options."
            )


def _of_kind(row: Row, kind: str) -> list[float]:
    """Returns the figures of the pictures of a kind, each the mean over the seeds."""
    every = [
        [own["psnr_test"] for own in seed["pictures"] if own["image"].startswith(f"{kind}-")]
        for seed in row["per_seed"]
    ]
    return [statistics.fmean(values) for values in zip(*every, strict=True)]


def table(pairs: Sequence[Sequence[Row]]) -> str:
    """Returns the rows of every Ω, and their difference, as Markdown, with the commands below."""
    heads = [f"{kind}, dB" for kind in KINDS]
    lines = [
        f"| Ω | rule | {' | '.join(heads)} | solved, % | steps a solve | ms a step |",
        f"|---:|---|{'---:|' * (len(heads) + 3)}",
    ]
    for rows in pairs:
        lines += map(_line, rows)
        if len(rows) == 2:
            leads = [_lead(*(_of_kind(row, kind) for row in rows)) for kind in KINDS]
            lines.append(f"| | the second less the first | {' | '.join(leads)} | | | |")
    return with_commands(lines, (row["command"] for rows in pairs for row in rows))


def _line(row: Row) -> str:
    config, mean = row["config"], row["mean"]
    figures = [_of_kind(row, kind) for kind in KINDS]
    cells = [
        f"{config['frequency']:g}",
        NAMES[config["rule"]],
        *(f"{statistics.fmean(own):.2f} ± {statistics.stdev(own):.2f}" for own in figures),
        share(mean["converged_fraction"]),
        f"{mean['solve_steps']:.1f}",
        f"{mean['step_ms_median']:.1f}",
    ]
    return table_row(cells)


def _lead(baseline: Sequence[float], own: Sequence[float]) -> str:
    """Returns the mean difference, picture by picture, with its standard error."""
    apart = [each - other for other, each in zip(baseline, own, strict=True)]
    error = statistics.stdev(apart) / math.sqrt(len(apart))
    return f"{statistics.fmean(apart):+.2f} ± {error:.2f}"


def update(root: Path, results: Path, *, check: bool = False) -> list[Path]:
    """Rewrites the table in the page under `root` and returns it if it changed.

    Without any file it stays as it is. With `check` nothing is written.

    **Raises:** `TablesError`. Nothing is written unless every file could be read.
    """
    pairs = read(results)
    return rewrite(root, [(PAGE, PART, table(pairs))] if any(pairs) else [], check=check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status: 1 for a stale table, 2 for a mistake."""
    description = "Make the table of implicit representations from the summaries of their runs."
    return script(arguments, update, "represent", description)


if __name__ == "__main__":
    sys.exit(main())
