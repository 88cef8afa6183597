"""Compares ways to train a device, on equal numbers of settles.

    python benchmarks/devices.py --json results/devices.json
    python benchmarks/devices.py --device ngspice --json results/devices_ngspice.json
    python benchmarks/devices.py --ways learned random --hidden 10 10 --json FILE

Every seed is a device of its own mismatch, a simulated network or a circuit in ngspice. The ways to
train it:

* `learned`: feedback weights that follow the measured responses;
* `balanced`: the same, less the measured gains of the control lines;
* `random`: feedback weights that stay as they were drawn, direct feedback alignment on the device.

And for the simulated network:

* `two phases`: the update is the measured difference of the activities under control and without;
* `physics-aware, good twin`, `poor twin`: forwards by the device and backwards by a model that
  knows 0.9 of the mismatch, or nothing of it;
* `node perturbation`, `weight perturbation`, `SPSA`: something is perturbed, and the loss tells.

`ideal` is learned feedback on the same device without mismatch, and `programmed` has the weights of
`ideal`, written to the device with mismatch. `with drift` the weights wander by 1 % a minute, and
two neurons are dead.

Every way has the same number of settles, and the same number of trials of its step and of what else
it has, on devices with other seeds than those that are reported, and with samples held out of those
that are trained with; the test samples are no part of it. The file is written after every run, and
a run that it holds is not repeated. On a busy machine, OPENBLAS_NUM_THREADS=1 saves time.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from _device_kinds import KINDS, AbstractKind, Way
from _origin import origin

from leastcontrol import data, devices, files

HELD_OUT = 360
"""Samples by which the trials are compared."""


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
    parts = {name: value for name, value in trial.items() if name != "learning_rate"}
    rule = way.rule(device, seed, options.perturbation, **parts)
    steps = len(splits.train) // options.batch_size
    epochs = round(options.settles / (steps * rule.settles))
    training = devices.DeviceTraining(epochs, options.batch_size, trial["learning_rate"])
    learner = devices.DeviceLearner(
        device, rule, training, splits.train.inputs, splits.train.targets, seed=seed
    )
    state = devices.TrainedDevice.untrained(device)
    first = state.weights
    for _ in range(epochs):
        state = learner.epoch(state, splits.validation.inputs, splits.validation.targets)
    curve = [
        {"settles": each.settles, "validation_accuracy": each.validation.accuracy}
        for each in state.metrics
    ]
    row = {
        "settles": state.settles,
        "curve": curve,
        "certificate": state.metrics[-1].results,
        "cpu_seconds": time.process_time() - began,
    }
    weights = rule.feedback_weights(device.describe(), state.responses)
    if weights is not None:
        row |= kind.alignment(device, splits.train.inputs, weights)
        # What training made of it: to the response before, of the device as it was.
        device.write({name: first[name] - now for name, now in device.read().items()})
        row["before"] = kind.alignment(device, splits.train.inputs, weights)
        device.write({name: state.weights[name] - now for name, now in device.read().items()})
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
        self.arms = {name: arm for name, arm in kind.arms.items() if arm.way in options.ways}
        self.settings = {
            name: value
            for name, value in vars(options).items()
            if name not in ("json", "seeds", "device", "ways")
        }
        shown = dataclasses.asdict(devices.LeastControlRule())
        self.settings |= {name: shown[name] for name in ("wandering", "drive")}
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
        for name in self.options.ways:
            way = self.kind.ways[name]
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
        for name, arm in self.arms.items():
            # What is programmed needs the weights of the device before.
            needed = arm.difficulties == self.kind.ideal and any(
                other.programmed and not self._has(seed, title)
                for title, other in self.arms.items()
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
            for name in self.arms
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
    parser.add_argument("--settles", type=int, default=kind.training["settles"])
    parser.add_argument("--batch-size", type=int, default=kind.training["batch_size"])
    usual = devices.LeastControlRule().perturbation
    parser.add_argument("--perturbation", type=float, default=usual)
    parser.add_argument("--ways", nargs="+", choices=kind.ways, default=list(kind.ways))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    Study(kind, data.load("digits"), options).run()


if __name__ == "__main__":
    main()
