"""Compares ways to train a device, on equal numbers of settles.

    python benchmarks/devices.py --json results/devices.json
    python benchmarks/devices.py --device ngspice --json results/devices_ngspice.json

Every seed is a device of its own mismatch, a simulated network or a circuit in ngspice. The ways:

* `learned`: feedback weights that follow the measured responses;
* `random`: feedback weights that stay as they were drawn, direct feedback alignment on the device;
* `ideal`: learned feedback on the same device without mismatch;
* `programmed`: the weights of `ideal`, written to the device with mismatch.

`with drift` they have devices whose weights wander by 1 % a minute and two of whose neurons are
dead.

Every way has the same number of trials of its step size, on devices with other seeds than those
that are reported, and with samples held out of those that are trained with; the test samples are no
part of it. The file is written after every run, and a run that it holds is not repeated.
"""

import abc
import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
from _origin import origin

from leastcontrol import data, devices, files

NOTHING: Mapping = {}
DRIFT = {"drift": 0.01, "dead_units": 2}
HELD_OUT = 360
"""Samples by which the trials are compared."""


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to train a device: its feedback, and the trainings that are tried."""

    feedback: str
    trials: tuple[Mapping, ...]


@dataclasses.dataclass(frozen=True)
class Arm:
    """What is reported of a way: on which devices, and whether trained there or before."""

    way: str
    difficulties: Mapping = dataclasses.field(default_factory=dict)
    programmed: bool = False


class AbstractKind(abc.ABC):
    """Devices of a kind, how they are trained, and what is compared."""

    training: ClassVar[Mapping]
    curve_every: ClassVar[int]
    ideal: ClassVar[Mapping]
    search_seeds: ClassVar[tuple[int, ...]]
    ways: ClassVar[Mapping[str, Way]]
    arms: ClassVar[Mapping[str, Arm]]

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


def rates(*values: float) -> tuple[Mapping, ...]:
    """Makes trials of learning rates."""
    return tuple({"learning_rate": value} for value in values)


class Simulated(AbstractKind):
    """Simulated networks."""

    training: ClassVar[Mapping] = {"epochs": 30, "batch_size": 64}
    curve_every: ClassVar[int] = 5
    ideal: ClassVar[Mapping] = {"mismatch": 0.0}
    search_seeds: ClassVar[tuple[int, ...]] = (100, 101, 102)
    ways: ClassVar[Mapping[str, Way]] = {
        "learned": Way("learned", rates(2e-3, 5e-3, 1e-2, 2e-2)),
        "random": Way("random", rates(2e-3, 5e-3, 1e-2, 2e-2)),
    }
    arms: ClassVar[Mapping[str, Arm]] = {
        "ideal": Arm("learned", ideal),
        "programmed": Arm("learned", programmed=True),
        "programmed with drift": Arm("learned", DRIFT, programmed=True),
        "learned": Arm("learned"),
        "random": Arm("random"),
        "learned with drift": Arm("learned", DRIFT),
        "random with drift": Arm("random", DRIFT),
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
    training: ClassVar[Mapping] = {"epochs": 4, "batch_size": 16}
    curve_every: ClassVar[int] = 1
    ideal: ClassVar[Mapping] = {"resistor_mismatch": 0.0, "offset": 0.0}
    search_seeds: ClassVar[tuple[int, ...]] = (100, 101)
    ways: ClassVar[Mapping[str, Way]] = {
        "learned": Way("learned", rates(1e-2, 2e-2, 4e-2)),
        "random": Way("random", rates(1e-2, 2e-2, 4e-2)),
    }
    arms: ClassVar[Mapping[str, Arm]] = {
        "ideal": Arm("learned", ideal),
        "programmed": Arm("learned", programmed=True),
        "learned": Arm("learned"),
        "random": Arm("random"),
    }

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
FEEDBACKS = {
    "learned": lambda seed: devices.LearnedFeedback(),
    "random": lambda seed: devices.RandomFeedback(seed),
}


def held_out(splits: data.Splits) -> data.Splits:
    """Splits the samples that are not for the test anew, with more of them held out."""
    inputs, targets = (
        np.concatenate([getattr(part, name) for part in (splits.train, splits.validation)])
        for name in ("inputs", "targets")
    )
    order = np.random.default_rng(0).permutation(len(targets))
    train, validation = (
        dataclasses.replace(splits.train, inputs=inputs[chosen], targets=targets[chosen])
        for chosen in (order[HELD_OUT:], order[:HELD_OUT])
    )
    return data.Splits(train, validation, splits.test)


def accuracy(device, part: data.Dataset) -> float:
    """Measures the share of samples that the device classifies rightly."""
    output = devices.settle_all(device, part.inputs).output
    return devices.classified(output, part.targets).accuracy


def trained(kind: AbstractKind, device, way: Way, splits, options, seed: int, trial: Mapping):
    """Trains a device; returns what was measured, and the weights on the host."""
    began = time.process_time()
    shared = {name: getattr(options, name) for name in ("epochs", "batch_size")}
    feedback = FEEDBACKS[way.feedback](seed)
    learner = devices.DeviceLearner(
        device,
        feedback,
        devices.DeviceTraining(**{**shared, **trial}),
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
        "settles": state.settles,
        "curve": curve,
        **kind.alignment(device, splits.train.inputs, weights),
        "certificate": state.metrics[-1].results,
        "cpu_seconds": time.process_time() - began,
    }
    return row, state.weights


def summary_of(values: list[float]) -> dict:
    """Computes mean, deviation and standard error over the devices."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": statistics.fmean(values),
        "std": deviation,
        "standard_error": None if deviation is None else deviation / len(values) ** 0.5,
        "count": len(values),
    }


class Study:
    """The comparison of one kind of devices, and the file that it fills.

    **Arguments:** `kind`; `splits` of the samples; the `options` that were given.
    """

    def __init__(self, kind: AbstractKind, splits: data.Splits, options: argparse.Namespace):
        self.kind, self.splits, self.options, self.made = kind, splits, options, origin()
        self.settings = {
            name: value
            for name, value in vars(options).items()
            if name not in ("json", "seeds", "device")
        }
        shown = dataclasses.asdict(devices.DeviceTraining())
        self.settings |= {name: shown[name] for name in ("perturbation", "wandering", "drive")}
        self.search: list[dict] = []
        self.runs: list[dict] = []
        if options.json.exists():
            kept = json.loads(options.json.read_text(encoding="utf-8"))
            if kept["settings"] == self.settings:
                self.search, self.runs = kept["search"], kept["runs"]

    def run(self) -> None:
        """Runs what the file lacks: first the trials, then what is reported."""
        self._search()
        for seed in self.options.seeds:
            self._report(seed)

    def chosen(self, name: str) -> Mapping:
        """Finds the trial of a way that was right most often, the first of equals."""
        trials = self.kind.ways[name].trials
        means = [
            statistics.fmean(
                row["accuracy"]
                for row in self.search
                if row["way"] == name and row["trial"] == trial
            )
            for trial in trials
        ]
        return trials[means.index(max(means))]

    def _search(self) -> None:
        splits = held_out(self.splits)
        known = [(row["way"], row["trial"], row["seed"]) for row in self.search]
        for name, way in self.kind.ways.items():
            for trial in way.trials:
                for seed in self.kind.search_seeds:
                    if (name, trial, seed) in known:
                        continue
                    with self.kind.opened(splits, self.options, seed) as device:
                        trained(self.kind, device, way, splits, self.options, seed, trial)
                        right = accuracy(device, splits.validation)
                    self.search.append(
                        {"way": name, "trial": trial, "seed": seed, "accuracy": right}
                    )
                    self._save(name, trial, seed, right)

    def _report(self, seed: int) -> None:
        weights = None
        for name, arm in self.kind.arms.items():
            # What is programmed needs the weights of the device before.
            needed = arm.difficulties == self.kind.ideal and any(
                other.programmed and not self._has(seed, title)
                for title, other in self.kind.arms.items()
            )
            if self._has(seed, name) and not needed:
                continue
            trial = self.chosen(arm.way)
            with self.kind.opened(self.splits, self.options, seed, **arm.difficulties) as device:
                if arm.programmed:
                    assert weights is not None
                    now = device.read()
                    device.write({each: weights[each] - now[each] for each in weights})
                    row: dict = {"settles": 0}
                else:
                    way = self.kind.ways[arm.way]
                    row, after = trained(
                        self.kind, device, way, self.splits, self.options, seed, trial
                    )
                    weights = after if arm.difficulties == self.kind.ideal else weights
                row |= {"trial": trial, "test_accuracy": accuracy(device, self.splits.test)}
            self.runs = [each for each in self.runs if (each["seed"], each["arm"]) != (seed, name)]
            self.runs.append({"seed": seed, "arm": name, **row})
            self._save(name, seed, row["test_accuracy"], row.get("cpu_seconds"))

    def _has(self, seed: int, name: str) -> bool:
        return any((row["seed"], row["arm"]) == (seed, name) for row in self.runs)

    def _save(self, *said) -> None:
        print(*said, flush=True)
        values = {
            name: [row["test_accuracy"] for row in self.runs if row["arm"] == name]
            for name in self.kind.arms
        }
        content = {
            "settings": self.settings,
            "search": self.search,
            "runs": self.runs,
            "arms": {name: summary_of(each) for name, each in values.items() if each},
            **self.made,
        }
        files.write_json(self.options.json, content)


def main() -> None:
    """Runs what the file lacks, and prints the accuracies."""
    parser = argparse.ArgumentParser(description="Compare ways to train a device.")
    parser.add_argument("--device", choices=KINDS, default="simulated")
    kind = KINDS[parser.parse_known_args()[0].device]
    kind.add_options(parser)
    parser.add_argument("--epochs", type=int, default=kind.training["epochs"])
    parser.add_argument("--batch-size", type=int, default=kind.training["batch_size"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    Study(kind, data.load("digits"), options).run()


if __name__ == "__main__":
    main()
