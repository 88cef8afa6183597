"""The comparisons of ways to train a device, simulated or in ngspice."""

import statistics
from collections.abc import Iterable
from typing import Any

from .description import DASH, Column, File, Table, lead, words


def _arms(document: Any) -> Iterable[Any]:
    """Makes a row of every arm: its means, and its lead over random feedback device by device."""
    runs = document["runs"]
    arms = {name: [run for run in runs if run["arm"] == name] for name in document["arms"]}
    random = {run["seed"]: run["test_accuracy"] for run in arms["random"]}
    for name, rows in arms.items():
        accuracies = [row["test_accuracy"] for row in rows]
        row = {
            **{"arm": name, "devices": len(rows), "command": document["command"]},
            "accuracy": statistics.fmean(accuracies),
            "error": statistics.stdev(accuracies) / len(rows) ** 0.5,
            "settles": rows[0]["settles"],
        }
        if "trial" in rows[0]:
            row["trial"] = rows[0]["trial"]
        if "angle" in rows[0]:
            row["angle"] = statistics.fmean(each["angle"] for each in rows)
            row["column_space"] = statistics.fmean(each["column_space"] for each in rows)
        if name != "random":
            row["lead"] = list(lead(accuracies, [random[each["seed"]] for each in rows]))
        yield row


ACCURACY = (
    words("arm", "arm"),
    Column("accuracy on the device, %", "accuracy error", "{:.2f} ± {:.2f}".format, 100),
    Column(
        "lead over random, points", "lead.0 lead.1", "{:+.2f} ± {:.2f}".format, 100, absent=DASH
    ),
    Column("devices", "devices", "{:d}".format),
    Column("settles", "settles", "{:d}".format),
)
ALIGNMENT = (
    Column("angle to the true response, °", "angle", "{:.0f}".format, absent=DASH),
    Column("column space", "column_space", "{:.2f}".format, absent=DASH),
)
RATE = Column("learning rate", "trial.learning_rate", "{:g}".format, absent=DASH)

TABLES = (
    Table(
        page="docs/devices.md",
        marker="devices",
        writer="python benchmarks/devices.py --json FILE",
        files=[File("devices.json", {"settings.mismatch": 0.5, "settings.noise": 0.05})],
        rows=_arms,
        columns=[*ACCURACY, *ALIGNMENT],
    ),
    Table(
        page="docs/devices.md",
        marker="devices-ngspice",
        writer="python benchmarks/devices.py --device ngspice --json FILE",
        files=[
            File(
                "devices_ngspice.json",
                {"settings.resistor_mismatch": 0.05, "settings.offset": 0.002},
            )
        ],
        rows=_arms,
        columns=[*ACCURACY, RATE],
    ),
)
