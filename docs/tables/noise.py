"""The table of learning under noise in every neuron: of benchmarks/noise_robustness.py."""

from .description import DASH, Column, File, Row, Table, spread, under, words

LEVELS = {"at_10": 0.1, "at_20": 0.2, "at_30": 0.3}


def _by_rule(rows: list[Row]) -> list[Row]:
    rules: dict[str, list[Row]] = {}
    for row in rows:
        rules.setdefault(row["rule"], []).append(row)
    return [
        runs[0].plus(
            **{
                name: spread(at_level, "test_accuracy")
                for name, level in LEVELS.items()
                if (at_level := [row for row in runs if row["noise"] == level])
            },
            seeds=min(sum(row["noise"] == level for row in runs) for level in LEVELS.values()),
        )
        for runs in rules.values()
    ]


TABLES = (
    Table(
        "docs/how-to-choose-a-controller.md",
        "noise",
        "python benchmarks/noise_robustness.py --json FILE",
        [File("noise-robustness.json")],
        [
            words("rule", "rule"),
            *(
                Column(f"test accuracy at a noise of {level}, %", name, absent=DASH)
                for name, level in LEVELS.items()
            ),
            Column("seeds", "seeds", "{:d}".format),
        ],
        under("runs"),
        _by_rule,
        # Some rows were made in several calls; the page has the one command that makes all.
        commands=False,
    ),
)
