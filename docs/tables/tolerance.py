"""The table of tolerances that follow the gradient's noise: of benchmarks/tolerance.py."""

import statistics
from collections.abc import Sequence

from .description import Column, File, Row, Table, share, spread, under, words


def _mean(rows: Sequence[Row], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


def _arranged(rows: list[Row]) -> list[Row]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["tolerance"]), []).append(row)
    steps = {
        key: _mean(group, "steps_mean") + _mean(group, "steps_measuring")
        for key, group in groups.items()
    }
    return [
        group[0].plus(
            seeds=len(group),
            test=spread(group, "test_accuracy"),
            solved=_mean(group, "converged_fraction"),
            end=_mean(group, "tolerance_end"),
            steps=steps[case, tolerance],
            saved=1 - steps[case, tolerance] / steps[case, "1e-05"],
            effect=_mean(group, "effect"),
        )
        for (case, tolerance), group in groups.items()
    ]


TABLES = (
    Table(
        "docs/performance.md",
        "tolerance",
        "python benchmarks/tolerance.py --json FILE",
        [File("tolerance.json")],
        [
            words("case", "case"),
            words("tolerance", "tolerance"),
            Column("at the end", "end", "{:.1e}".format),
            Column("epochs", "epochs", "{:d}".format),
            Column("seeds", "seeds", "{:d}".format),
            words("test accuracy, %", "test"),
            Column("solved, %", "solved", share),
            Column("steps a solve, with measuring", "steps", "{:.2f}".format),
            Column("saved, %", "saved", "{:.0f}".format, 100),
            Column("effect, % of the standard error", "effect", "{:.2f}".format, 100),
        ],
        under("trials"),
        _arranged,
    ),
)
