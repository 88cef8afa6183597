"""Which part of trained networks' samples is solved when units rest on kinks, at several shares.

    python benchmarks/kinks.py --data-dir FOLDER --json results/kinks.json
    python benchmarks/kinks.py --data-dir FOLDER --cases rnn-relu --images 1024

Every case (`CASES`) is trained briefly by least control with half of the loss removed. Then the
samples that it was trained on are solved when control removes the shares of `SHARES`, by every
solver of `SOLVERS`. The implicit representation is trained on the pixels of one picture.

A system with rectified units inside f is also solved as one whose kinks are not known to the
solvers (`kinks` is false), which then use one-sided derivatives, at the same κ. The file is written
after every case, and the same command continues with the cases that it does not hold yet.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from _origin import origin
from _shares import kappa_for, removed_by, trained_by

from leastcontrol import data, training
from leastcontrol.controllers import Automatic, DynamicInversion
from leastcontrol.equilibrium import free_equilibrium, solved
from leastcontrol.files import write_json
from leastcontrol.losses import AbstractLoss, CrossEntropy, SquaredError
from leastcontrol.rules import Batch
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.represent import Learner, represent
from leastcontrol.runs.represent_config import RepresentConfig
from leastcontrol.systems import AbstractSystem, DeepEquilibrium, inner_kinks, relu

PICTURES = "implicit-relu"
EQUILIBRIUM = {
    "system": "deep-equilibrium",
    "channels": 24,
    "inner": 24,
    "pool": 7,
    "encoder_stride": 4,
    "learning_rate": 3e-3,
}
CASES: dict[str, dict[str, Any]] = {
    "deep-equilibrium-swapped": {**EQUILIBRIUM, "cell": "swapped", "jacobian_penalty": 0.3},
    "deep-equilibrium-residual": {**EQUILIBRIUM, "cell": "residual", "jacobian_penalty": 10.0},
    PICTURES: {},
    **{
        f"rnn-{activation}": {
            "system": "rnn",
            "hidden": (64,),
            "activation": activation,
            "preprocessing": "standardise",
        }
        for activation in ("relu", "tanh")
    },
    **{
        f"residual-{depth}-{activation}": {
            "system": "residual",
            "hidden": (64,),
            "depth": depth,
            "activation": activation,
            "preprocessing": "standardise",
        }
        for depth, activation in itertools.product((50, 100), ("relu", "tanh"))
    },
}
SHARES = (0.1, 0.5, 0.75, 0.9, 0.95)
TRAINED_AT = "0.5"
SOLVERS = {"dynamic-inversion": DynamicInversion(), "automatic": Automatic()}
# A share is met when it is missed by less than this, or after so many solves.
SHARE_MISSED = 0.01
MOST_SOLVES = 20
# The picture of the implicit representation, of 16 × 16 pixels to train.
PICTURE = {"images": ("natural-1",), "size": 32, "hidden": 64, "steps": 300}


class Opaque(eqx.Module):
    """A cell whose rectified units are not known to solvers."""

    cell: Callable[[Any, jax.Array], Any]

    def __call__(self, state: Any, drive: jax.Array) -> Any:
        return self.cell(state, drive)


def without_kinks(system: AbstractSystem) -> AbstractSystem:
    """Returns the same system, whose kinks inside f are not known to solvers."""
    if isinstance(system, DeepEquilibrium):
        return eqx.tree_at(lambda model: model.cell, system, Opaque(system.cell))
    copy = jax.tree.map(lambda leaf: leaf, system)
    # The activation is static, and another function of the same values is not known as relu.
    object.__setattr__(copy, "activation", lambda x: relu(x))
    return copy


def trained(case: str, options: Any) -> tuple[AbstractSystem, Batch, AbstractLoss, dict[str, Any]]:
    """Trains a case; returns the system, the samples to solve, the loss, and figures."""
    if case == PICTURES:
        config = RepresentConfig.of(**PICTURE)
        picture = data.read_picture(PICTURE["images"][0], size=PICTURE["size"])
        learned = represent(Learner(config), picture, options.seed)
        last = learned.looks[-1]
        figures = {"trained_solved": last.converged_fraction, "psnr_train": last.psnr_train}
        places, colours = picture.part(0)
        batch = Batch(jnp.asarray(places), jnp.asarray(colours))
        return learned.system, batch, SquaredError(), figures
    config = RunConfig.of(
        data="fashion-mnist",
        data_dir=options.data_dir,
        validation_fraction=0.95,
        epochs=options.epochs,
        seed=options.seed,
        rule="least-control",
        strength=TRAINED_AT,
        **CASES[case],
    )
    result, splits = trained_by(config, options.seed)
    last = result.metrics[-1]
    validation = last.validation
    assert isinstance(validation, training.Evaluation)
    figures = {
        "trained_solved": last.converged_fraction,
        "validation_accuracy": validation.accuracy,
    }
    few = slice(0, options.images)
    inputs, targets = splits.train.inputs[few], splits.train.targets[few]
    return result.system, Batch(jnp.asarray(inputs), jnp.asarray(targets)), CrossEntropy(), figures


def timed(solve: Callable[[], Any]) -> tuple[Any, float]:
    """Calls a compiled function again; returns its result and its processor time in seconds."""
    began = time.process_time()
    result = jax.block_until_ready(solve())
    return result, time.process_time() - began


def solves(system: AbstractSystem, batch: Batch, loss: AbstractLoss) -> Iterator[dict[str, Any]]:
    """Solves a trained system at several shares, by several solvers, with and without its kinks."""
    versions = {True: system}
    if inner_kinks(system) is not None:
        versions[False] = without_kinks(system)
    drives = jax.vmap(system.drive)(batch.inputs)
    free = float(solved(free_equilibrium(system, drives)).mean())
    for share in SHARES:
        kappa = kappa_for(
            share,
            *(SOLVERS["dynamic-inversion"], system, loss, batch),
            missed=SHARE_MISSED,
            most_solves=MOST_SOLVES,
        )
        for (kinks, version), (name, controller) in itertools.product(
            versions.items(), SOLVERS.items()
        ):
            solve = lambda v=version, c=controller, k=kappa: removed_by(c, v, loss, batch, k)  # noqa: E731
            jax.block_until_ready(solve())
            (removed, _, solution), seconds = timed(solve)
            yield {
                "share": share,
                "solver": name,
                "kinks": kinks,
                "free_solved": free,
                "removed": float(removed),
                "kappa": float(kappa),
                "solved": float(solved(solution).mean()),
                "steps_mean": float(solution.stats.steps.mean()),
                "worst_error": float(solution.stats.error.max()),
                "cpu_ms_a_sample": 1e3 * seconds / len(batch.targets),
            }


def main() -> int:
    """Trains and solves the cases and returns the exit status."""
    parser = argparse.ArgumentParser(description="Solve trained networks with units on kinks.")
    parser.add_argument("--data-dir", type=Path, required=True, help="of Fashion-MNIST")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = {"epochs": options.epochs, "images": options.images, "seed": options.seed}
    result: dict[str, Any] = {**origin(), **about, "trainings": [], "solves": []}
    if options.json is not None and options.json.is_file():
        before = json.loads(options.json.read_text())
        if any(before.get(name) != value for name, value in about.items()):
            parser.error(f"{options.json} is of another number of epochs or images, or seed.")
        result |= {name: before[name] for name in ("trainings", "solves")}
    for case in options.cases:
        if any(held["case"] == case for held in result["trainings"]):
            continue
        system, batch, loss, figures = trained(case, options)
        rows = []
        for row in solves(system, batch, loss):
            rows.append({"case": case, "samples": len(batch.targets), **row})
            shown = {name: row[name] for name in ("share", "solver", "kinks", "solved")}
            print(f"{case}: {shown}, {row['steps_mean']:.1f} steps", flush=True)
        result["trainings"].append({"case": case, **figures})
        result["solves"] += rows
        if options.json is not None:
            write_json(options.json, result)
    if options.json is not None:
        # The command of a file is the last one, which may have found all its cases there.
        write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
