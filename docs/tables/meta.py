"""The tables of meta-learning: a rule a row, the best first, and what a step of each costs.

Runs of one seed have the same tasks and the same first weights, so that least control's lead is the
mean of its differences seed by seed, with the standard error of that mean.
"""

import dataclasses
import functools
from typing import Any

from . import description
from .description import ACCURACY, EMPTY, SPREAD, SPREAD_OF_3, Column, File, Row, Table, words

PAGE = "docs/meta-learning.md"
NAMES = {
    "least-control": "least control",
    "least-control descent": "least control, descent",
    "first-order-maml": "first-order MAML",
    "maml": "MAML",
    "reptile": "Reptile",
    "t1-t2": "T1–T2",
    "implicit-maml": "implicit MAML",
    "contrastive": "contrastive",
}
RULE = words("rule", "label")


def _ranked(figure: str, sign: int, rows: list[Row]) -> list[Row]:
    """Returns the rows by a figure that is better the larger sign · figure is, and their losses."""

    def of_seeds(row: Row) -> list[float]:
        return [sign * seed["test"][figure] for seed in row["per_seed"]]

    description.check_alike(rows, lambda row: {name: row[name] for name in ("seed", "total_tasks")})
    ranked = sorted(
        rows, key=lambda row: (-sign * row[f"mean.test_{figure}"], row["mean.test_loss"])
    )
    first = next((row for row in rows if row["config.rule"] == "least-control"), None)
    if first is None:
        return ranked
    return [
        row if row is first else row.plus(lead=description.lead(of_seeds(first), of_seeds(row)))
        for row in ranked
    ]


def _tasks(row: Row) -> str:
    return (
        f"{row['total_tasks']} tasks of training, {len(row['seed'])} seeds (mean ± deviation over "
        f"them, each on {row['test_tasks']} test tasks):"
    )


def _comparison(runs: str, **holds: Any) -> Table:
    """Returns the table of the runs on a kind of tasks, which are judged by their loss."""
    held = {f"config.{name}": value for name, value in holds.items()}
    return Table(
        PAGE,
        holds["tasks"],
        "leastcontrol meta --seeds 0 1 2 --results FILE",
        [
            File(f"meta-{runs}-{rule}.json", {"config.rule": rule, **held}, {"label": name})
            for rule, name in NAMES.items()
        ],
        [
            RULE,
            Column("test loss", "mean.test_loss std.test_loss", SPREAD_OF_3),
            Column("least control's lead", "lead.0 lead.1", SPREAD_OF_3, absent=EMPTY),
            Column("seconds a seed", "seconds", "{:.0f}".format),
            Column("residual of the allowed", "residual_median", "{:.1e}".format),
        ],
        arrange=functools.partial(_ranked, "loss", -1),
        above=_tasks,
    )


def _of_letters(ways: int) -> Table:
    """Returns the table of the runs on letters, which are judged by their accuracy."""
    table = _comparison(f"glyphs-{ways}-way", tasks="glyphs", ways=ways)
    rule, loss, _, *costs = table.columns
    lead = Column("least control's lead, points", "lead.0 lead.1", SPREAD, 100, EMPTY)
    return dataclasses.replace(
        table,
        columns=[rule, ACCURACY, loss, lead, *costs],
        arrange=functools.partial(_ranked, "accuracy", 1),
        above=lambda row: f"{ways}-way, {_tasks(row)}",
    )


def _by_rule(rows: list[Row]) -> list[Row]:
    """Returns one row for each rule, with those of its numbers of inner steps."""
    rules: dict[str, dict[str, Row]] = {}
    for row in rows:
        rules.setdefault(row["rule"], {})[f"{row['inner_steps']}"] = row
    return [
        next(iter(steps.values())).plus(
            label=NAMES[rule], steps={number: row.entries for number, row in steps.items()}
        )
        for rule, steps in rules.items()
    ]


def _costs(unit: str, figure: str, form: str, scale: float | None = None) -> list[Column]:
    return [
        Column(f"{unit}, {steps} inner steps", f"steps.{steps}.{figure}", form.format, scale, EMPTY)
        for steps in (10, 100)
    ]


TABLES = (
    _comparison("sinusoid", tasks="sinusoid"),
    _of_letters(5),
    _of_letters(20),
    Table(
        PAGE,
        "meta-cost",
        "python benchmarks/meta_cost.py --inner-steps 10 100 --json FILE",
        [File("meta-cost.json")],
        [
            RULE,
            *_costs("ms", "cpu_ms", "{:.1f}"),
            *_costs("MiB", "bytes", "{:.2f}", 2**-20),
        ],
        list,
        _by_rule,
    ),
)
