"""What strong control buys: training and validation at several shares of the loss removed.

    python benchmarks/strength.py --data-dir FOLDER --json results/strength.json
    python benchmarks/strength.py --data-dir FOLDER --cases residual-50-tanh --seeds 0 1 2 3 4

A trial trains one case (`CASES`) with one share (`--strength`; 0 is backpropagation, and 0.2:0.8 a
share that rises over the training), one learning rate and one seed, on the same 3 000 images of
Fashion-MNIST. The first two seeds are trained with every learning rate; those after them with the
one that has the highest mean validation accuracy, chosen in the same way for every share. The file
is written after every trial, and the same command goes on with those that
it does not hold yet, seed by seed, so that an interrupted run has all shares of the seeds before.

After a trial whose weights have learned under strong control, the trained network is solved at the
shares of `SOLVED_AT`, by every solver of `SOLVERS`: which part of 256 images is solved, and in how
many iterations. Whatever is looked at is of the training and the validation images; the test images
are evaluated once for a trial, and nothing is chosen by them.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from _origin import origin
from _shares import kappa_for, removed_by

from leastcontrol import training
from leastcontrol.controllers import Automatic, DynamicInversion
from leastcontrol.equilibrium import solved
from leastcontrol.files import write_json
from leastcontrol.losses import CrossEntropy
from leastcontrol.rules import Batch
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.trained import build_system
from leastcontrol.systems import AbstractSystem

CASES: dict[str, dict[str, Any]] = {
    "residual-10-tanh": {"system": "residual", "depth": 10, "activation": "tanh"},
    "residual-10-relu": {"system": "residual", "depth": 10, "activation": "relu"},
    "residual-50-tanh": {"system": "residual", "depth": 50, "activation": "tanh"},
    "residual-50-relu": {"system": "residual", "depth": 50, "activation": "relu"},
    "dense-2-tanh": {"system": "feedforward", "activation": "tanh"},
    "dense-2-relu": {"system": "feedforward", "activation": "relu"},
    "convolutional": {"system": "convolutional"},
}
WIDTHS = {"residual": (64,), "feedforward": (64, 64)}
SHARES = ("0", "0.02", "0.1", "0.25", "0.5", "0.75", "0.9", "0.2:0.8", "0.05:0.95")
LEARNING_RATES = (1e-3, 2e-3)
# So many seeds are trained with every learning rate.
TUNING_SEEDS = 2
COMMON = {
    "data": "fashion-mnist",
    "preprocessing": "standardise",
    "validation_fraction": 0.95,
}
# Of the network that was trained, when its control removes so much of the loss.
SOLVED_AT = (0.5, 0.75, 0.9, 0.95)
SOLVERS = {"dynamic-inversion": DynamicInversion(), "automatic": Automatic()}
SOLVED_IMAGES = 256
# A share is met when it is missed by less than this, or after so many solves.
SHARE_MISSED = 0.005
MOST_SOLVES = 30


def asked(share: str) -> float | str:
    """Returns a share as it stands in the file: a number, or the text of a course."""
    return share if ":" in share else float(share)


def configuration(case: str, share: str, rate: float, seed: int, options: Any) -> RunConfig:
    """Makes the configuration of a trial."""
    rule: dict[str, Any] = {"rule": "backpropagation"}
    if asked(share):
        rule = {"rule": "least-control", "strength": share}
    system = CASES[case]
    widths = {"hidden": WIDTHS[system["system"]]} if system["system"] in WIDTHS else {}
    return RunConfig.of(
        **COMMON,
        **system,
        **widths,
        **rule,
        data_dir=options.data_dir,
        epochs=options.epochs,
        learning_rate=rate,
        final_learning_rate=rate / 10,
        seed=seed,
    )


def evaluation_of(measured: training.AnyEvaluation) -> training.Evaluation:
    """Returns the evaluation of a classifier, which every case is."""
    assert isinstance(measured, training.Evaluation)
    return measured


def trial(config: RunConfig, splits: Any, seed: int) -> tuple[dict[str, Any], AbstractSystem]:
    """Trains one configuration; returns its figures and the trained system."""
    free: list[float] = []

    def report(_: training.EpochMetrics, trained: training.Trained) -> None:
        free.append(evaluation_of(training.evaluate(trained.system, splits.train)).nll)

    began = time.process_time()
    trained = training.train(
        build_system(config, splits, seed),
        config.build_rule(),
        splits.train,
        splits.validation,
        config.build_training(),
        seed=seed,
        report=report,
    )
    epochs = trained.metrics
    removed = [epoch.removed for epoch in epochs if epoch.removed is not None] or [0.0]
    validated = [evaluation_of(epoch.validation) for epoch in epochs]
    test = evaluation_of(training.evaluate(trained.system, splits.test))
    return {
        "train_nll": free[-1],
        "train_nll_epochs": free,
        "validation_accuracy": validated[-1].accuracy,
        "validation_accuracy_best": max(evaluation.accuracy for evaluation in validated),
        "test_accuracy": test.accuracy,
        "removed_mean": sum(removed) / len(removed),
        "removed_end": removed[-1],
        "converged_fraction": sum(epoch.converged_fraction for epoch in epochs) / len(epochs),
        "steps_mean": sum(epoch.steps_mean for epoch in epochs) / len(epochs),
        "kappa": epochs[-1].kappa,
        "cpu_seconds": time.process_time() - began,
    }, trained.system


def best_rate(
    trials: list[dict[str, Any]], case: str, share: float | str, seeds: list[int]
) -> float:
    """Returns the learning rate with the highest mean validation accuracy over some seeds."""
    scores: dict[float, list[float]] = {}
    for trial in trials:
        if (trial["case"], trial["share"]) == (case, share) and trial["seed"] in seeds:
            scores.setdefault(trial["learning_rate"], []).append(trial["validation_accuracy"])
    return max(scores, key=lambda rate: sum(scores[rate]) / len(scores[rate]))


def solves(system: AbstractSystem, batch: Batch) -> Iterator[dict[str, Any]]:
    """Solves a trained system at several shares, by several solvers."""
    for share in SOLVED_AT:
        given = system, CrossEntropy(), batch
        kappa = kappa_for(
            share,
            *(SOLVERS["automatic"], *given),
            missed=SHARE_MISSED,
            most_solves=MOST_SOLVES,
        )
        for name, controller in SOLVERS.items():
            removed, gain, solution = removed_by(controller, *given, kappa)
            yield {
                "solver": name,
                "removed": float(removed),
                "kappa": float(kappa),
                "gain": float(gain),
                "solved": float(solved(solution).mean()),
                "steps_mean": float(solution.stats.steps.mean()),
                "worst_error": float(solution.stats.error.max()),
            }


def main() -> int:
    """Runs the trials and returns the exit status."""
    parser = argparse.ArgumentParser(description="Train at several strengths of control.")
    parser.add_argument("--data-dir", type=Path, required=True, help="of Fashion-MNIST")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=["residual-10-tanh"])
    parser.add_argument("--shares", nargs="+", default=list(SHARES))
    parser.add_argument("--learning-rates", type=float, nargs="+", default=list(LEARNING_RATES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--solves-at", type=float, nargs="*", default=[0.5, 0.9])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = {**origin(), "epochs": options.epochs, "images": 3000}
    result: dict[str, Any] = {**about, "trials": [], "solves": []}
    if options.json is not None and options.json.is_file():
        before = json.loads(options.json.read_text())
        if before.get("epochs") != options.epochs:
            parser.error(f"{options.json} is of another number of epochs.")
        result |= {name: before[name] for name in ("trials", "solves")}
    loaded: dict[str, Any] = {}
    for seed, case, rate, share in itertools.product(
        options.seeds, options.cases, options.learning_rates, options.shares
    ):
        chosen = {"case": case, "share": asked(share), "learning_rate": rate, "seed": seed}
        held = result["trials"]
        if any(chosen.items() <= trial.items() for trial in held):
            continue
        tuning = options.seeds[:TUNING_SEEDS]
        if seed not in tuning and rate != best_rate(held, case, asked(share), tuning):
            continue
        config = configuration(case, share, rate, seed, options)
        config.check()
        splits = loaded.setdefault(CASES[case]["system"], load_splits(config))
        figures, system = trial(config, splits, seed)
        result["trials"].append({**chosen, **figures})
        first = rate == options.learning_rates[0] and seed == options.seeds[0]
        if first and asked(share) in options.solves_at:
            few = slice(0, SOLVED_IMAGES)
            batch = Batch(
                jnp.asarray(splits.train.inputs[few]), jnp.asarray(splits.train.targets[few])
            )
            result["solves"] += [{**chosen, **row} for row in solves(system, batch)]
        shown = {name: figures[name] for name in ("train_nll", "validation_accuracy")}
        print(f"{chosen}: {shown}, removed {figures['removed_mean']:.3f}", flush=True)
        if options.json is not None:
            write_json(options.json, result)
    if options.json is not None:
        # The command of a file is the last one, which may have found all its trials there.
        write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
