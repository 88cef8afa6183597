"""The tables of meta-learning in the documentation, made from what its runs have left.

    python -m tables.meta           # rewrites the tables where they stand
    python -m tables.meta --check   # exits with 1 if it would change any

A row of a comparison is one file `results/meta-*.json`, which `leastcontrol meta --results FILE`
wrote; those on the same tasks, as many of them and with the same seeds are one table. Of one seed a
figure has its interval over test tasks, of several their deviation. How far least control is ahead
of a rule is the mean of its differences seed by seed, for runs of one seed have the same tasks and
the same first weights, with the standard error of that mean. The rows of the cost are those of
`results/meta-cost.json`, which `benchmarks/meta_cost.py` wrote.
"""

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leastcontrol.runs.meta_config import MetaConfig

from .accuracy import TablesError, read_result, rewrite, script, table_row, with_commands

PAGE = Path("docs/meta-learning.md")
COST = "meta-cost.json"
NAMES = {
    "least-control": "least control",
    "first-order-maml": "first-order MAML",
    "maml": "MAML",
    "reptile": "Reptile",
    "t1-t2": "T1–T2",
    "implicit-maml": "implicit MAML",
    "contrastive": "contrastive",
}

# What tests are judged by; and which way is better.
_FIGURES = {"loss": -1.0, "accuracy": 1.0}

Row = dict[str, Any]


def read(results: Path) -> tuple[list[Row], list[Row]]:
    """Returns the summaries of the runs in a folder, and the rows of the cost.

    **Raises:** `TablesError` for a file that is damaged or of another kind.
    """
    summaries, costs = [], []
    for path in sorted(results.glob("meta-*.json")):
        values = read_result(path)
        if path.name == COST:
            if not isinstance(values, list) or not all(map(_is_cost, values)):
                raise TablesError(
                    f"{path} does not hold the rows of a cost: give a file that "
                    "`python benchmarks/meta_cost.py --json FILE` wrote."
                )
            costs = values
        else:
            summary = _of_seeds(values)
            if not _is_summary(summary):
                raise TablesError(
                    f"{path} is not the summary of a meta-training: give a file that "
                    "`leastcontrol meta --results FILE` wrote."
                )
            summaries.append(summary)
    return summaries, costs


def _of_seeds(values: Any) -> Any:
    """Returns the summary of one seed in the form of several, with the intervals over its tasks."""
    if not isinstance(values, dict) or not isinstance(test := values.get("test"), dict):
        return values
    names = [name for name in _FIGURES if test.get(name) is not None]
    return {
        **values,
        "per_seed": [{"seed": values.get("seed"), "test": test}],
        "seed": [values.get("seed")],
        "test_tasks": test.get("tasks"),
        "mean": {f"test_{name}": test[name] for name in names},
        "std": {f"test_{name}": test.get(f"{name}_interval") for name in names},
    }


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_cost(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("rule"), str)
        and isinstance(row.get("command"), str)
        and all(_is_number(row.get(name)) for name in ("inner_steps", "cpu_ms"))
        and (row.get("bytes") is None or _is_number(row["bytes"]))
    )


def _is_summary(values: Any) -> bool:
    if not isinstance(values, dict):
        return False
    config, mean, std = (values.get(name) for name in ("config", "mean", "std"))
    return (
        isinstance(config, dict)
        and config.get("rule") in NAMES
        and isinstance(values.get("command"), str)
        and isinstance(values.get("seed"), list)
        and all(_is_number(values.get(name)) for name in ("total_tasks", "test_tasks"))
        and isinstance(mean, dict)
        and isinstance(std, dict)
        and "test_loss" in mean
        and all(map(_is_number, mean.values()))
        and all(_is_number(std.get(name)) for name in mean)
        and isinstance(values.get("per_seed"), list)
        and len(values["per_seed"]) == len(values["seed"])
        and all(_has_figures(own, mean) for own in values["per_seed"])
    )


def _has_figures(own: Any, mean: dict[str, Any]) -> bool:
    if not isinstance(own, dict) or not isinstance(test := own.get("test"), dict):
        return False
    return all(_is_number(test.get(name)) for name in _FIGURES if f"test_{name}" in mean)


def comparison_table(summaries: Sequence[Row], tasks: str) -> str:
    """Returns the tables of all runs on a kind of tasks, the best rule first, with the commands."""
    own = [row for row in summaries if row["config"]["tasks"] == tasks]
    parts = []
    for group in sorted(set(map(_group, own))):
        rows = [row for row in own if _group(row) == group]
        ways, total, seeds = group[0], group[1], len(group[2])
        several = "seeds (mean ± deviation over them, each on"
        told = f"{seeds} {several if seeds > 1 else 'seed (± 95 % interval over'}"
        classified = "test_accuracy" in rows[0]["mean"]
        kind = f"{ways}-way, " if classified else ""
        rows.sort(key=lambda row: row["mean"]["test_loss"])
        if classified:
            rows.sort(key=lambda row: -row["mean"]["test_accuracy"])
        heading = "test accuracy, % | test loss" if classified else "test loss"
        first = next((row for row in rows if row["config"]["rule"] == "least-control"), None)
        if seeds == 1:
            first = None
        if first is not None:
            heading += f" | least control's lead{', points' if classified else ''}"
        lines = [
            f"{kind}{total} tasks of training, {told} {rows[0]['test_tasks']} test tasks):",
            "",
            f"| rule | {heading} | seconds a seed | residual of the allowed |",
            f"|---|{'---:|' * (3 + classified + (first is not None))}",
        ]
        for row in rows:
            cells = [_named(row["config"])]
            if classified:
                cells.append(_spread(row, "test_accuracy", 100.0, 2))
            cells.append(_spread(row, "test_loss", 1.0, 3))
            if first is not None:
                cells.append("" if row is first else _lead(first, row, classified))
            cells += [f"{row['seconds']:.0f}", f"{row['residual_median']:.1e}"]
            lines.append(table_row(cells))
        parts.append(with_commands(lines, (row["command"] for row in rows)))
    return "\n\n".join(parts)


def _group(row: Row) -> tuple[int, int, tuple[int, ...]]:
    return row["config"]["ways"], row["total_tasks"], tuple(row["seed"])


def _lead(first: Row, other: Row, classified: bool) -> str:
    """Returns the mean lead of one row over another, seed by seed, with its standard error."""
    name, scale, digits = ("accuracy", 100.0, 2) if classified else ("loss", 1.0, 3)
    figures = [[own["test"][name] for own in row["per_seed"]] for row in (first, other)]
    leads = [scale * _FIGURES[name] * (own - rival) for own, rival in zip(*figures, strict=True)]
    error = statistics.stdev(leads) / math.sqrt(len(leads))
    return f"{statistics.fmean(leads):.{digits}f} ± {error:.{digits}f}"


def _named(config: dict[str, Any]) -> str:
    name = NAMES[config["rule"]]
    if config["rule"] == "least-control" and config["control"] != MetaConfig.control:
        name += f", {config['control']}"
    return name


def _spread(row: Row, name: str, scale: float, digits: int) -> str:
    return f"{scale * row['mean'][name]:.{digits}f} ± {scale * row['std'][name]:.{digits}f}"


def cost_table(rows: Sequence[Row]) -> str:
    """Returns what a step of every rule costs, with the command below."""
    steps = sorted({row["inner_steps"] for row in rows})
    heads = [f"{unit}, {own} inner steps" for unit in ("ms", "MiB") for own in steps]
    lines = [f"| rule | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    found = {(row["rule"], row["inner_steps"]): row for row in rows}
    for rule in dict.fromkeys(row["rule"] for row in rows):
        own = [found.get((rule, number)) for number in steps]
        times = ["" if row is None else f"{row['cpu_ms']:.1f}" for row in own]
        sizes = [
            "" if row is None or row["bytes"] is None else f"{row['bytes'] / 2**20:.2f}"
            for row in own
        ]
        word, *control = str(rule).split(" ")
        cells = [", ".join([NAMES.get(word, word), *control]), *times, *sizes]
        lines.append(table_row(cells))
    return with_commands(lines, (row["command"] for row in rows))


def update(root: Path, results: Path, *, check: bool = False) -> list[Path]:
    """Rewrites the tables in the page under `root` and returns it if it changed.

    A table without rows stays as it is. With `check` nothing is written.

    **Raises:** `TablesError`. Nothing is written unless every file could be read.
    """
    summaries, costs = read(results)
    parts = (
        ("sinusoid", comparison_table(summaries, "sinusoid")),
        ("glyphs", comparison_table(summaries, "glyphs")),
        ("meta-cost", cost_table(costs) if costs else ""),
    )
    made = [(PAGE, part, content) for part, content in parts if content]
    return rewrite(root, made, check=check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status: 1 for a stale table, 2 for a mistake."""
    description = "Make the tables of meta-learning from the summaries of its runs."
    return script(arguments, update, "meta", description)


if __name__ == "__main__":
    sys.exit(main())
