"""Compares ways to train a simulated device, on equal numbers of settles.

    python benchmarks/devices.py --json results/devices.json

Every seed is a device of its own mismatch. The arms:

* `learned`: feedback weights that follow the measured responses;
* `random`: feedback weights that stay as they were drawn, direct feedback alignment on the device;
* `ideal`: learned feedback on the same network without mismatch;
* `programmed`: the weights of `ideal`, written to the device with mismatch;
* `learned, larger steps`, `random, larger steps`: the same with a learning rate that suits random
  feedback better;
* `learned with drift`, `programmed with drift`: the same with weights that wander by 1 % a minute
  and two dead neurons.

The file is written after every run, and a run that it holds is not repeated.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

import numpy as np
from _origin import origin

from leastcontrol import data, devices, files

CURVE_EVERY = 5
LARGER = {"learning_rate": 5e-3}
DRIFT = {"drift": 0.01, "dead_units": 2}


def device_of(splits, options, seed: int, mismatch: float, **difficulties):
    """Makes the device of a seed."""
    noisy = devices.Difficulties(mismatch=mismatch, noise=options.noise, **difficulties)
    inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
    return devices.SimulatedDevice(inputs, tuple(options.hidden), outputs, noisy, seed=seed)


def training_of(options, **larger) -> devices.DeviceTraining:
    """Makes the training that all arms share, but for the learning rate of some."""
    return devices.DeviceTraining(epochs=options.epochs, batch_size=options.batch_size, **larger)


def accuracy(device, splits) -> float:
    """Measures the share of test samples that the device classifies rightly."""
    output = devices.settle_all(device, splits.test.inputs).output
    return devices.classified(output, splits.test.targets).accuracy


def trained(device, feedback, splits, options, seed: int, **larger):
    """Trains a device; returns its row and the weights on the host."""
    began = time.process_time()
    learner = devices.DeviceLearner(
        device,
        feedback,
        training_of(options, **larger),
        splits.train.inputs,
        splits.train.targets,
        seed=seed,
    )
    state = devices.TrainedDevice.untrained(device)
    for _ in range(options.epochs):
        state = learner.epoch(state, splits.validation.inputs, splits.validation.targets)
    curve = [
        {"settles": each.settles, "validation_accuracy": each.validation.accuracy}
        for each in state.metrics[CURVE_EVERY - 1 :: CURVE_EVERY]
    ]
    response = device.true_response(splits.train.inputs[:256].astype(np.float64))
    weights = feedback.weights(device.describe(), state.responses)
    # The output's own lines are nearly the same in every arm.
    hidden = slice(0, device.describe().neurons - device.describe().outputs)
    true, sent = response.T[hidden], weights[hidden]
    cosine = np.sum(true * sent) / (np.linalg.norm(true) * np.linalg.norm(sent))
    basis = np.linalg.qr(true)[0]
    row = {
        "test_accuracy": accuracy(device, splits),
        "settles": state.settles,
        "curve": curve,
        "angle": float(np.degrees(np.arccos(cosine))),
        "column_space": float(np.linalg.norm(basis.T @ sent) / np.linalg.norm(sent)),
        "certificate": dataclasses.asdict(state.metrics[-1])["results"],
        "cpu_seconds": time.process_time() - began,
    }
    return row, state.weights


def programmed(device, weights, splits) -> dict:
    """Writes weights to a device that they were not trained on."""
    now = device.read()
    device.write({name: weight - now[name] for name, weight in weights.items()})
    return {"test_accuracy": accuracy(device, splits), "settles": 0}


def run_arms(splits, options, seed: int):
    """Yields the rows of a device that are asked for, by the names of their arms."""
    m = options.mismatch
    row, weights = trained(
        device_of(splits, options, seed, 0.0), devices.LearnedFeedback(), splits, options, seed
    )
    yield "ideal", row
    yield "programmed", programmed(device_of(splits, options, seed, m), weights, splits)
    for arm, feedback, difficulties, larger in (
        ("learned", devices.LearnedFeedback(), {}, {}),
        ("random", devices.RandomFeedback(seed), {}, {}),
        ("learned, larger steps", devices.LearnedFeedback(), {}, LARGER),
        ("random, larger steps", devices.RandomFeedback(seed), {}, LARGER),
        ("learned with drift", devices.LearnedFeedback(), DRIFT, {}),
    ):
        device = device_of(splits, options, seed, m, **difficulties)
        yield arm, trained(device, feedback, splits, options, seed, **larger)[0]
    drifting = device_of(splits, options, seed, m, **DRIFT)
    yield "programmed with drift", programmed(drifting, weights, splits)


def main() -> None:
    """Runs what the file lacks, and prints the means."""
    parser = argparse.ArgumentParser(description="Compare ways to train a simulated device.")
    parser.add_argument("--mismatch", type=float, default=0.5)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 32, 32, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    splits, made = data.load("digits"), origin()
    settings = {
        name: value for name, value in vars(options).items() if name not in ("json", "seeds")
    }
    settings |= dataclasses.asdict(training_of(options))
    rows: list[dict] = []
    if options.json.exists():
        kept = json.loads(options.json.read_text(encoding="utf-8"))
        if kept["settings"] == settings:
            rows = kept["runs"]
    for seed in options.seeds:
        if any(row["seed"] == seed and row["arm"] == "programmed with drift" for row in rows):
            continue
        rows = [row for row in rows if row["seed"] != seed]
        for arm, row in run_arms(splits, options, seed):
            rows.append({"seed": seed, "arm": arm, **row})
            print(seed, arm, row["test_accuracy"], row.get("cpu_seconds"), flush=True)
            arms = list(dict.fromkeys(each["arm"] for each in rows))
            values = {
                name: [each["test_accuracy"] for each in rows if each["arm"] == name]
                for name in arms
            }
            summary = {
                name: {
                    "mean": statistics.fmean(each),
                    "std": statistics.stdev(each) if len(each) > 1 else None,
                    "standard_error": statistics.stdev(each) / len(each) ** 0.5
                    if len(each) > 1
                    else None,
                    "count": len(each),
                }
                for name, each in values.items()
            }
            files.write_json(
                options.json, {"settings": settings, "runs": rows, "arms": summary, **made}
            )


if __name__ == "__main__":
    main()
