"""The comparisons of ways to train a device: simulated, in ngspice, and of spiking neurons."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from .description import DASH, Column, File, Table, lead, words

DRIFT = " with drift"


def _mean(values: Sequence[float]) -> list[float]:
    """Computes the mean and its standard error."""
    return [statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5]


def _by_arm(document: Any) -> dict[str, list[Any]]:
    """Collects the runs of every arm in the order of their seeds."""
    runs = sorted(document["runs"], key=lambda run: run["seed"])
    return {name: [run for run in runs if run["arm"] == name] for name in document["arms"]}


def _accuracies(rows: Sequence[Any]) -> list[float]:
    return [row["test_accuracy"] for row in rows]


def _trial(trial: Any) -> str:
    """Shows the trial that was chosen: its learning rate, and what else is tried."""
    names = {"learning_rate": "rate", "gain": "gain", "size": "size"}
    return ", ".join(f"{names[name]} {value:g}" for name, value in trial.items())


def _arms(document: Any) -> Iterable[Any]:
    """Makes a row of every arm: its means, and its lead over random feedback device by device."""
    arms = _by_arm(document)
    for name, rows in arms.items():
        if name.endswith(DRIFT):
            continue
        row = {
            **{"arm": name, "devices": len(rows), "command": document["command"]},
            "accuracy": _mean(_accuracies(rows)),
            "settles": rows[0]["settles"],
            "trial": _trial(rows[0]["trial"]),
        }
        if name + DRIFT in arms:
            row["drift"] = _mean(_accuracies(arms[name + DRIFT]))
        if "angle" in rows[0]:
            row["angle"] = statistics.fmean(each["angle"] for each in rows)
            row["column_space"] = statistics.fmean(each["column_space"] for each in rows)
        if name != "random" and "random" in arms:
            row["lead"] = list(lead(_accuracies(rows), _accuracies(arms["random"])))
        yield row


def _tries(document: Any) -> Iterable[Any]:
    """Makes one row of a kind of device: learned and random feedback beside each other."""
    arms = _by_arm(document)
    learned, random = arms["learned"], arms["random"]
    balanced = {"balanced": _mean(_accuracies(arms["balanced"]))} if "balanced" in arms else {}
    yield {
        **balanced,
        "perturbation": document["settings"]["perturbation"],
        "device": "×".join(map(str, document["settings"]["hidden"])),
        "mismatch": document["settings"]["mismatch"],
        **{name: _mean(_accuracies(arms[name])) for name in ("ideal", "learned", "random")},
        "programmed": _mean(_accuracies(arms["programmed"])),
        "lead": list(lead(_accuracies(learned), _accuracies(random))),
        "angle": [statistics.fmean(row["angle"] for row in rows) for rows in (learned, random)],
        "before": statistics.fmean(row["before"]["angle"] for row in random),
        "column_space": [
            statistics.fmean(row["column_space"] for row in rows) for rows in (learned, random)
        ],
        "command": document["command"],
    }


def _spiking(document: Any) -> Iterable[Any]:
    """Makes the one row of the spiking neurons."""
    runs = document["runs"]
    yield {
        "neurons": document["settings"]["hidden"],
        "mismatch": document["settings"]["mismatch"],
        "untrained": _mean([run["untrained"] for run in runs]),
        "trained": _mean(_accuracies(runs)),
        "devices": len(runs),
        "settles": runs[0]["settles"],
        "command": document["command"],
    }


def percent(heading: str, path: str) -> Column:
    """Makes a column of a mean with its standard error, in %."""
    return Column(heading, f"{path}.0 {path}.1", "{:.2f} ± {:.2f}".format, 100, absent=DASH)


LEAD = Column(
    "lead over random, points", "lead.0 lead.1", "{:+.2f} ± {:.2f}".format, 100, absent=DASH
)
ACCURACY = (words("arm", "arm"), percent("accuracy on the device, %", "accuracy"))
COUNTS = (
    Column("devices", "devices", "{:d}".format),
    Column("settles", "settles", "{:d}".format),
    words("chosen", "trial"),
)

TABLES = (
    Table(
        page="docs/devices.md",
        marker="devices",
        writer="python benchmarks/devices.py --json FILE",
        files=[File("devices.json", {"settings.mismatch": 0.5, "settings.noise": 0.05})],
        rows=_arms,
        columns=[
            *ACCURACY,
            percent("with drift, %", "drift"),
            LEAD,
            *COUNTS,
            Column("angle to the true response, °", "angle", "{:.0f}".format, absent=DASH),
            Column("column space", "column_space", "{:.2f}".format, absent=DASH),
        ],
    ),
    Table(
        page="docs/devices.md",
        marker="devices-tries",
        writer="python benchmarks/devices.py --ways learned random --json FILE",
        files=[
            File("devices_balanced.json", {"settings.mismatch": 0.5}),
            File("devices_narrow.json", {"settings.hidden": [10, 10]}),
            File("devices_narrow_deep.json", {"settings.hidden": [10, 10, 10, 10]}),
            *(
                File(name, {"settings.mismatch": 1.0, "settings.perturbation": size})
                for name, size in (("devices_mismatch.json", 0.2), ("devices_quiet.json", 0.05))
            ),
        ],
        rows=_tries,
        columns=[
            words("hidden neurons", "device"),
            Column("mismatch", "mismatch", "{:g}".format),
            Column("ε", "perturbation", "{:g}".format),
            percent("ideal, %", "ideal"),
            percent("programmed, %", "programmed"),
            percent("learned, %", "learned"),
            percent("balanced, %", "balanced"),
            percent("random, %", "random"),
            dataclasses.replace(LEAD, heading="learned over random, points"),
            Column("angle, learned and random, °", "angle.0 angle.1", "{:.0f}, {:.0f}".format),
            Column("random, before training, °", "before", "{:.0f}".format),
            Column(
                "column space, learned and random",
                "column_space.0 column_space.1",
                "{:.2f}, {:.2f}".format,
            ),
        ],
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
        columns=[*ACCURACY, LEAD, *COUNTS],
    ),
    Table(
        page="docs/devices.md",
        marker="devices-spiking",
        writer="python examples/spiking_device/spiking.py --json FILE",
        files=[File("spiking_device.json", {"settings.mismatch": 0.5})],
        rows=_spiking,
        columns=[
            Column("spiking neurons", "neurons", "{:d}".format),
            Column("mismatch", "mismatch", "{:g}".format),
            percent("untrained, %", "untrained"),
            percent("trained, %", "trained"),
            Column("devices", "devices", "{:d}".format),
            Column("settles", "settles", "{:d}".format),
        ],
    ),
)
