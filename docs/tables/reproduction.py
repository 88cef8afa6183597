"""The tables of the reproductions: the reduced ones by experiment, the small ones row by row."""

from typing import Any

from .description import DASH, Column, File, Row, Table, under, words


def _verdicts(row: Row) -> dict[str, int]:
    failed = [bool(verdict["failed"]) for verdict in row["verdicts"]]
    return {"judged": failed.count(False), "failed": failed.count(True)}


def _row_by_row(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**document, **experiment, **verdict}
        for experiment in document["experiments"]
        for verdict in experiment["verdicts"]
    ]


def _with_total(rows: list[Row]) -> list[Row]:
    counted = [row.plus(name=f"`{row['experiment']}`", **_verdicts(row)) for row in rows]
    total: dict[str, Any] = {
        name: sum(row[name] for row in counted) for name in ("judged", "failed", "seconds")
    }
    worked = [row.get("processor_seconds") for row in counted]
    total["processor_seconds"] = None if None in worked else sum(worked)
    return [*counted, rows[0].plus(name="all together", **total)]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


TABLES = (
    Table(
        "docs/reproduce.md",
        "reproduce-quick",
        "leastcontrol reproduce --all --quick --results FILE",
        [File("reproduce-quick.json")],
        (
            words("name", "name"),
            Column("figures with a verdict", "judged", "{:d}".format),
            Column("failed", "failed", "{:d}".format),
            Column("minutes", "seconds", _minutes),
            Column("of the processor", "processor_seconds", _minutes, absent=DASH),
        ),
        under("experiments"),
        _with_total,
    ),
    Table(
        "docs/reproduce.md",
        "reproduce-small",
        "leastcontrol reproduce NAME --results FILE",
        [
            File("mnist-strength-small.json"),
            File("mnist-rnn-width-small.json"),
            File("mnist-rnn-angles-small.json"),
            File("omniglot-20-way.json"),
            File("omniglot-5-way.json"),
            File("student-teacher-alignment-small.json"),
            File("mnist-autoencoder-small.json"),
            File("cifar10-feedforward-small.json"),
            File("cifar10-deep-equilibrium-small.json"),
            File("implicit-representations-small.json"),
        ],
        (
            words("name", "experiment", "`{}`".format),
            words("row", "row"),
            words("figure", "quantity"),
            words("measured", "measured"),
            words("claim", "expected"),
            words("verdict", "verdict"),
        ),
        _row_by_row,
    ),
)
