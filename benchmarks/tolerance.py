"""What a tolerance saves that follows the gradient's noise, and what it costs in accuracy.

    python benchmarks/tolerance.py --data-dir data --json results/tolerance.json

The folder holds `mnist` and `fashion-mnist`. Every case (`CASES`) is trained with each seed twice,
one training after the other: with the fixed tolerance 1e-5 and with `--tolerance auto`. An
iteration of a solve is one product with the weights and one with their transpose for every sample;
those of the measurements are counted to the trainings that make them. At the end the effect of the
tolerance is measured once more, on validation samples. The file is written after every trial, and
the same command goes on with those that it does not hold yet.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from _origin import origin

from leastcontrol import training
from leastcontrol.files import write_json
from leastcontrol.papers.registry import FEEDFORWARD, RECURRENT
from leastcontrol.rules import Batch, gradient_noise
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.trained import build_system

CASES = {
    "feedforward 784-256-256-10, MNIST": (
        "mnist",
        FEEDFORWARD.with_options(controller="dynamic-inversion", epochs=5),
    ),
    "RNN 256 with a penalty, MNIST": (
        "mnist",
        RECURRENT.with_options(controller="dynamic-inversion", epochs=3),
    ),
    "convolutional, Fashion-MNIST": (
        "fashion-mnist",
        RunConfig.of(
            data="fashion-mnist",
            system="convolutional",
            convolutions="strided",
            hidden=(48,),
            activation="relu",
            controller="dynamic-inversion",
            alpha=320.0,
            learning_rate=4e-3,
            epochs=2,
        ),
    ),
}
TOLERANCES = (1e-5, "auto")
# Validation samples on which the effect is measured at the end, in steps' batches.
BATCHES = 8


def trial(config: RunConfig, splits: Any, seed: int) -> dict[str, Any]:
    """Trains one configuration and returns its figures."""
    began = time.process_time()
    rule, loop = config.build_rule(), config.build_training()
    trained = training.train(
        build_system(config, splits, seed), rule, splits.train, splits.validation, loop, seed=seed
    )
    seconds = time.process_time() - began
    epochs = trained.metrics
    test = training.evaluate(trained.system, splits.test)
    validated = epochs[-1].validation
    assert isinstance(test, training.Evaluation)
    assert isinstance(validated, training.Evaluation)
    chosen = trained.tolerance
    tolerance = jnp.asarray(1e-5) if chosen is None else chosen
    choice = training.ToleranceFromNoise()

    @eqx.filter_jit
    def noise(batch: Batch) -> Any:
        return gradient_noise(
            rule,
            trained.system,
            trained.feedback,
            batch,
            tolerance=tolerance,
            parts=choice.parts(loop.batch_size),
            key=jax.random.key(seed),
        )

    def batch_of(number: int) -> Batch:
        places = slice(number * loop.batch_size, (number + 1) * loop.batch_size)
        part = splits.validation
        return Batch(jnp.asarray(part.inputs[places]), jnp.asarray(part.targets[places]))

    noises = [noise(batch_of(number)) for number in range(BATCHES)]
    steps = epochs[-1].updates // len(epochs)
    measuring = 0.0
    if chosen is not None:
        # The two solves of a measurement, spread over the steps of an epoch.
        often = -(-steps // choice.every) / steps
        measuring = often * sum(float(one.steps) for one in noises) / BATCHES
    return {
        "test_accuracy": test.accuracy,
        "validation_accuracy": validated.accuracy,
        "loss": epochs[-1].loss,
        "converged_fraction": sum(epoch.converged_fraction for epoch in epochs) / len(epochs),
        "steps_mean": sum(epoch.steps_mean for epoch in epochs) / len(epochs),
        "steps_measuring": measuring,
        "tolerance_largest": max(epoch.tolerance or 1e-5 for epoch in epochs),
        "tolerance_end": float(tolerance),
        "effect": sum(float(one.effect / one.standard_error) for one in noises) / BATCHES,
        "effect_largest": max(float(one.effect / one.standard_error) for one in noises),
        "step_ms": min(epoch.step_ms for epoch in epochs),
        "cpu_seconds": seconds,
    }


def main() -> int:
    """Runs the trials and returns the exit status."""
    parser = argparse.ArgumentParser(description="Compare a fixed tolerance with a chosen one.")
    parser.add_argument("--data-dir", type=Path, required=True, help="of MNIST and Fashion-MNIST")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {**origin(), "trials": []}
    if options.json is not None and options.json.is_file():
        result["trials"] = json.loads(options.json.read_text())["trials"]
    loaded: dict[str, Any] = {}
    for case, seed, tolerance in itertools.product(options.cases, options.seeds, TOLERANCES):
        chosen = {"case": case, "tolerance": str(tolerance), "seed": seed}
        if any(chosen.items() <= held.items() for held in result["trials"]):
            continue
        data, config = CASES[case]
        config = config.with_options(
            data_dir=options.data_dir / data, tolerance=tolerance, seed=seed, seeds=()
        )
        config.check()
        splits = loaded.setdefault(case, load_splits(config))
        figures = trial(config, splits, seed)
        epochs = config.optimiser.epochs
        result["trials"].append({**chosen, "epochs": epochs, **figures})
        print(f"{chosen}: {figures}", flush=True)
        if options.json is not None:
            write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
