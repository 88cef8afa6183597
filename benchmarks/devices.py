"""Compares ways to train a device, on equal numbers of settles.

    python benchmarks/devices.py --json results/devices.json
    python benchmarks/devices.py --device ngspice --json results/devices_ngspice.json

Every seed is a device of its own mismatch, a simulated network or a circuit in ngspice. The arms:

* `learned`: feedback weights that follow the measured responses;
* `random`: feedback weights that stay as they were drawn, direct feedback alignment on the device;
* `ideal`: learned feedback on the same device without mismatch;
* `programmed`: the weights of `ideal`, written to the device with mismatch.

And of the simulated network:

* `learned, larger steps`, `random, larger steps`: the same with a learning rate that suits random
  feedback better;
* `learned with drift`, `programmed with drift`: the same with weights that wander by 1 % a minute
  and two dead neurons.

The file is written after every run, and a run that it holds is not repeated.
"""

import abc
import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
from _origin import origin

from leastcontrol import data, devices, files

NOTHING: Mapping = {}
LARGER = {"learning_rate": 5e-3}
DRIFT = {"drift": 0.01, "dead_units": 2}


class AbstractKind(abc.ABC):
    """Devices of a kind, how they are trained, and the arms."""

    training: ClassVar[Mapping]
    curve_every: ClassVar[int]
    ideal: ClassVar[Mapping]
    learned: ClassVar[Mapping[str, tuple[str, Mapping, Mapping]]]
    programmed: ClassVar[Mapping[str, Mapping]]

    @abc.abstractmethod
    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options of the devices."""

    @abc.abstractmethod
    def opened(
        self, splits, options, seed: int, **difficulties
    ) -> AbstractContextManager[devices.AbstractDevice]:
        """Makes the device of a seed, with other difficulties than the options say."""

    def alignment(self, device, inputs, feedback) -> dict:
        """Compares feedback with the true response, of devices that know it."""
        del device, inputs, feedback
        return {}


class Simulated(AbstractKind):
    """Simulated networks."""

    training: ClassVar[Mapping] = {"epochs": 30, "batch_size": 64, "learning_rate": 3e-3}
    curve_every: ClassVar[int] = 5
    ideal: ClassVar[Mapping] = {"mismatch": 0.0}
    # The feedback, the difficulties and the training of each.
    learned: ClassVar[Mapping[str, tuple[str, Mapping, Mapping]]] = {
        "learned": ("learned", NOTHING, NOTHING),
        "random": ("random", NOTHING, NOTHING),
        "learned, larger steps": ("learned", NOTHING, LARGER),
        "random, larger steps": ("random", NOTHING, LARGER),
        "learned with drift": ("learned", DRIFT, NOTHING),
    }
    programmed: ClassVar[Mapping[str, Mapping]] = {
        "programmed": NOTHING,
        "programmed with drift": DRIFT,
    }

    def add_options(self, parser):
        parser.add_argument("--mismatch", type=float, default=0.5)
        parser.add_argument("--noise", type=float, default=0.05)
        parser.add_argument("--hidden", type=int, nargs="+", default=[32, 32, 32, 32])

    def opened(self, splits, options, seed, **difficulties):
        values = {"mismatch": options.mismatch, "noise": options.noise, **difficulties}
        inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
        return nullcontext(
            devices.SimulatedDevice(
                inputs, tuple(options.hidden), outputs, devices.Difficulties(**values), seed=seed
            )
        )

    def alignment(self, device, inputs, feedback):
        response = device.true_response(inputs[:256].astype(np.float64))
        # The output's own lines are nearly the same in every arm.
        hidden = slice(0, device.describe().neurons - device.describe().outputs)
        true, sent = response.T[hidden], feedback[hidden]
        cosine = np.sum(true * sent) / (np.linalg.norm(true) * np.linalg.norm(sent))
        basis = np.linalg.qr(true)[0]
        return {
            "angle": float(np.degrees(np.arccos(cosine))),
            "column_space": float(np.linalg.norm(basis.T @ sent) / np.linalg.norm(sent)),
        }


class Ngspice(AbstractKind):
    """Circuits in ngspice."""

    # A settle of a sample takes long, and has no noise that a larger batch would average.
    training: ClassVar[Mapping] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}
    curve_every: ClassVar[int] = 1
    ideal: ClassVar[Mapping] = {"resistor_mismatch": 0.0, "offset": 0.0}
    learned: ClassVar[Mapping[str, tuple[str, Mapping, Mapping]]] = {
        "learned": ("learned", NOTHING, NOTHING),
        "random": ("random", NOTHING, NOTHING),
    }
    programmed: ClassVar[Mapping[str, Mapping]] = {"programmed": NOTHING}

    def add_options(self, parser):
        parser.add_argument("--pairs", type=int, default=16)
        parser.add_argument("--resistor-mismatch", type=float, default=0.05)
        parser.add_argument("--offset", type=float, default=2e-3)

    def opened(self, splits, options, seed, **difficulties):
        values = {
            "resistor_mismatch": options.resistor_mismatch,
            "offset": options.offset,
            **difficulties,
        }
        inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
        return closing(devices.SpiceDevice(inputs, options.pairs, outputs, seed=seed, **values))


KINDS = {"simulated": Simulated(), "ngspice": Ngspice()}


def training_of(options, **other) -> devices.DeviceTraining:
    """Makes the training that all arms share, but for the learning rate of some."""
    values = {name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate")}
    return devices.DeviceTraining(**{**values, **other})


def accuracy(device, splits) -> float:
    """Measures the share of test samples that the device classifies rightly."""
    output = devices.settle_all(device, splits.test.inputs).output
    return devices.classified(output, splits.test.targets).accuracy


def trained(kind, device, feedback, splits, options, seed: int, **other):
    """Trains a device; returns its row and the weights on the host."""
    began = time.process_time()
    learner = devices.DeviceLearner(
        device,
        feedback,
        training_of(options, **other),
        splits.train.inputs,
        splits.train.targets,
        seed=seed,
    )
    state = devices.TrainedDevice.untrained(device)
    for _ in range(options.epochs):
        state = learner.epoch(state, splits.validation.inputs, splits.validation.targets)
    curve = [
        {"settles": each.settles, "validation_accuracy": each.validation.accuracy}
        for each in state.metrics[kind.curve_every - 1 :: kind.curve_every]
    ]
    weights = feedback.weights(device.describe(), state.responses)
    row = {
        "test_accuracy": accuracy(device, splits),
        "settles": state.settles,
        "curve": curve,
        **kind.alignment(device, splits.train.inputs, weights),
        "certificate": dataclasses.asdict(state.metrics[-1])["results"],
        "cpu_seconds": time.process_time() - began,
    }
    return row, state.weights


def programmed(device, weights, splits) -> dict:
    """Writes weights to a device that they were not trained on."""
    now = device.read()
    device.write({name: weight - now[name] for name, weight in weights.items()})
    return {"test_accuracy": accuracy(device, splits), "settles": 0}


def run_arms(kind: AbstractKind, splits, options, seed: int, finished) -> Iterator:
    """Yields the rows of a device that are not finished, by the names of their arms."""
    if not {"ideal", *kind.programmed} <= finished:
        with kind.opened(splits, options, seed, **kind.ideal) as device:
            row, weights = trained(kind, device, devices.LearnedFeedback(), splits, options, seed)
        yield "ideal", row
        for arm, difficulties in kind.programmed.items():
            with kind.opened(splits, options, seed, **difficulties) as device:
                yield arm, programmed(device, weights, splits)
    feedbacks = {"learned": devices.LearnedFeedback(), "random": devices.RandomFeedback(seed)}
    for arm, (feedback, difficulties, other) in kind.learned.items():
        if arm not in finished:
            with kind.opened(splits, options, seed, **difficulties) as device:
                yield (
                    arm,
                    trained(kind, device, feedbacks[feedback], splits, options, seed, **other)[0],
                )


def summary_of(values: list[float]) -> dict:
    """Computes mean, deviation and standard error over the devices."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": statistics.fmean(values),
        "std": deviation,
        "standard_error": None if deviation is None else deviation / len(values) ** 0.5,
        "count": len(values),
    }


def main() -> None:
    """Runs what the file lacks, and prints the accuracies."""
    parser = argparse.ArgumentParser(description="Compare ways to train a device.")
    parser.add_argument("--device", choices=KINDS, default="simulated")
    kind = KINDS[parser.parse_known_args()[0].device]
    kind.add_options(parser)
    parser.add_argument("--epochs", type=int, default=kind.training["epochs"])
    parser.add_argument("--batch-size", type=int, default=kind.training["batch_size"])
    parser.add_argument("--learning-rate", type=float, default=kind.training["learning_rate"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    splits, made = data.load("digits"), origin()
    settings = {
        name: value
        for name, value in vars(options).items()
        if name not in ("json", "seeds", "device")
    }
    settings |= dataclasses.asdict(training_of(options))
    rows: list[dict] = []
    if options.json.exists():
        kept = json.loads(options.json.read_text(encoding="utf-8"))
        if kept["settings"] == settings:
            rows = kept["runs"]
    order = ("ideal", *kind.programmed, *kind.learned)
    for seed in options.seeds:
        finished = {row["arm"] for row in rows if row["seed"] == seed}
        for arm, row in run_arms(kind, splits, options, seed, finished):
            rows = [each for each in rows if (each["seed"], each["arm"]) != (seed, arm)]
            rows.append({"seed": seed, "arm": arm, **row})
            print(seed, arm, row["test_accuracy"], row.get("cpu_seconds"), flush=True)
            values = {
                name: [each["test_accuracy"] for each in rows if each["arm"] == name]
                for name in order
            }
            arms = {name: summary_of(each) for name, each in values.items() if each}
            files.write_json(
                options.json, {"settings": settings, "runs": rows, "arms": arms, **made}
            )


if __name__ == "__main__":
    main()
