"""The tables of the recursive reasoner: an arm a row, each with the figures of its seeds.

Trials of one seed have the same first weights and the same order of puzzles, so that an arm's lead
is the mean of its differences to the baseline, seed by seed, with the standard error of that mean.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from .description import DASH, EMPTY, SPREAD, Column, File, Row, Table, lead, under, words

PAGE = "docs/reasoner.md"
BASELINE = "through-16-steps"
NAMES = {
    "one-step": "one step",
    "two-phantom-steps": "two phantom steps",
    "through-16-steps": "through 16 steps",
    "implicit": "implicit",
    "implicit-kept": "implicit, unsolved kept",
    "least-control": "least control",
}
# Arms that take what a fixed number of applications gives, so that nothing is solved.
UNCHECKED = ("one-step", "two-phantom-steps", "through-16-steps")
READ_AFTER = (16, 64)
# Of a training, in the order of the measurements along it.
PARTS = ("first weights", "⅛", "¼", "½", "end")


def _figures(row: Row, path: str) -> list[float]:
    """Returns the figure at a path of every seed that has it."""
    seeds = (Row(row.file, row.writer, seed) for seed in row["per_seed"])
    return [figure for seed in seeds if (figure := seed.get(path)) is not None]


def _spread(figures: Sequence[float]) -> list[float] | None:
    """Returns mean and deviation; `None` for no figures at all."""
    if not figures:
        return None
    return [statistics.fmean(figures), statistics.stdev(figures) if len(figures) > 1 else 0.0]


def _with_spreads(rows: list[Row], paths: dict[str, str]) -> list[Row]:
    """Returns the rows with mean and deviation of the figures at each of the named paths."""
    return [
        row.plus(
            label=NAMES[row["arm"]],
            **{name: _spread(_figures(row, path)) for name, path in paths.items()},
        )
        for row in rows
    ]


def _accuracies(rows: list[Row]) -> list[Row]:
    paths = {f"exact_{n}": f"test.after.{n}.exact" for n in READ_AFTER}
    paths["cells"] = f"test.after.{READ_AFTER[-1]}.cells"
    rows = _with_spreads(rows, paths)
    baseline = next(row for row in rows if row["arm"] == BASELINE)
    return [
        row
        if row is baseline
        else row.plus(
            leads={
                str(n): lead(
                    _figures(row, f"test.after.{n}.exact"),
                    _figures(baseline, f"test.after.{n}.exact"),
                )
                for n in READ_AFTER
            }
        )
        for row in rows
    ]


def _costs(rows: list[Row]) -> list[Row]:
    rows = _with_spreads(
        rows,
        {
            "solved_share": "solved",
            "steps_taken": "solve_steps",
            "bytes": "temporary_bytes",
            "cpu_ms": "gradient_cpu_ms",
        },
    )
    baseline = next(row for row in rows if row["arm"] == BASELINE)
    times = _figures(baseline, "gradient_cpu_ms")
    rows = [row.plus(solved_share=None) if row["arm"] in UNCHECKED else row for row in rows]
    return [
        row.plus(
            ratio=_spread(
                [
                    cost / other
                    for cost, other in zip(_figures(row, "gradient_cpu_ms"), times, strict=True)
                ]
            )
        )
        for row in rows
    ]


def _cosines(rows: list[Row]) -> list[Row]:
    return [
        row.plus(
            label=NAMES[row["arm"]],
            parts={
                str(number): _spread(_figures(row, f"along.{number}.cosines.{row['arm']}"))
                for number in range(len(PARTS))
            },
            at_rest=_spread(_figures(row, f"along.{len(PARTS) - 1}.at_rest")),
        )
        for row in rows
    ]


def _cosines_at_the_baseline(rows: list[Row]) -> list[Row]:
    """Returns the arms that were measured along the baseline's training, with their cosines."""
    baseline = next(row for row in rows if row["arm"] == BASELINE)
    spreads = {
        row["arm"]: {
            str(number): _spread(_figures(baseline, f"along.{number}.cosines.{row['arm']}"))
            for number in range(len(PARTS))
        }
        for row in rows
    }
    return [
        row.plus(label=NAMES[row["arm"]], parts=spreads[row["arm"]])
        for row in rows
        if any(spreads[row["arm"]].values())
    ]


def _residuals(rows: list[Row]) -> list[Row]:
    return _with_spreads(
        rows,
        {
            f"{name}_{n}": f"test.residual.{n}.{name}"
            for name in ("solved", "exact_of_solved", "exact_of_unsolved", "auroc")
            for n in READ_AFTER
        },
    )


def _stopping(rows: list[Row]) -> list[Row]:
    return _with_spreads(
        rows,
        {
            f"{way}_{name}": f"test.stopping.{way}.{name}"
            for way in ("per_sample", "batch_maximum")
            for name in ("applications", "stopped", "exact")
        },
    )


def _table(
    marker: str,
    columns: Sequence[Column],
    arrange: Callable[[list[Row]], list[Row]],
    **more: Any,
) -> Table:
    return Table(
        PAGE,
        marker,
        "PYTHONPATH=examples python -m reasoner.study --out FOLDER --results FILE",
        [File("reasoner.json")],
        [words("arm", "label"), *columns],
        under("arms"),
        arrange,
        **more,
    )


def _spread_column(
    heading: str, name: str, scale: float | None = 100, form: Callable[..., str] | None = None
) -> Column:
    return Column(
        heading, f"{name}.0 {name}.1", form or "{:.1f} ± {:.1f}".format, scale, absent=DASH
    )


def _lead_column(applications: int) -> Column:
    return Column(
        f"lead after {applications}, points",
        f"leads.{applications}.0 leads.{applications}.1",
        "{:+.1f} ± {:.1f}".format,
        100,
        absent=EMPTY,
    )


ACCURACIES = _table(
    "reasoner",
    [
        Column("rate", "rate", "{:g}".format),
        *(
            column
            for n in READ_AFTER
            for column in (
                _spread_column(f"grids right after {n}, %", f"exact_{n}"),
                _lead_column(n),
            )
        ),
        _spread_column(f"cells right after {READ_AFTER[-1]}, %", "cells"),
    ],
    _accuracies,
    above=lambda row: (
        f"{row['per_seed.0.weights']} weights, {row['steps']} steps of training, "
        f"{len(row['seeds'])} seeds (mean ± deviation; leads over backpropagation through 16 "
        "steps, mean ± standard error of the paired differences):"
    ),
)
COSTS = _table(
    "reasoner-costs",
    [
        _spread_column("solved in training, %", "solved_share"),
        _spread_column("steps a solve", "steps_taken", None),
        _spread_column("CPU ms a gradient", "cpu_ms", None),
        _spread_column("of that through 16 steps", "ratio", None, SPREAD),
        Column("working memory, MiB", "bytes.0", "{:.2f}".format, 2**-20),
    ],
    _costs,
    commands=False,
)
COSINES = [
    _spread_column(heading, f"parts.{number}", None, SPREAD) for number, heading in enumerate(PARTS)
]
HALF_RATE = [File("reasoner-half-rate.json", {"rates": [0.005]})]
TABLES = (
    ACCURACIES,
    COSTS,
    dataclasses.replace(ACCURACIES, marker="reasoner-half-rate", files=HALF_RATE),
    dataclasses.replace(COSTS, marker="reasoner-half-rate", files=HALF_RATE),
    _table(
        "reasoner-cosines",
        [*COSINES, _spread_column("at rest at the end, %", "at_rest")],
        _cosines,
        commands=False,
    ),
    _table("reasoner-cosines-alike", COSINES, _cosines_at_the_baseline, commands=False),
    *(
        _table(
            f"reasoner-residual-{n}",
            [
                _spread_column("solved, %", f"solved_{n}"),
                _spread_column("grids right of solved, %", f"exact_of_solved_{n}"),
                _spread_column("of unsolved, %", f"exact_of_unsolved_{n}"),
                _spread_column("right has the smaller residual, %", f"auroc_{n}"),
            ],
            _residuals,
            commands=False,
        )
        for n in READ_AFTER
    ),
    _table(
        "reasoner-stopping",
        [
            _spread_column(f"{heading} {measure}", f"{way}_{name}", scale)
            for way, heading in (("per_sample", "sample:"), ("batch_maximum", "batch:"))
            for name, measure, scale in (
                ("applications", "applications", None),
                ("stopped", "at rest, %", 100),
                ("exact", "grids right, %", 100),
            )
        ],
        _stopping,
        commands=False,
    ),
)
