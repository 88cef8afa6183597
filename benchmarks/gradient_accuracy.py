"""How exact a gradient is at a tolerance, and what that took: least control beside its baseline.

    python benchmarks/gradient_accuracy.py --weights runs/rnn-di-1 runs/rnn-di \
        --json results/gradient-accuracy.json

The tolerances of two rules are not of the same thing: a free rest point is solved relative to the
state, a controlled one relative to the control, down to the rounding of the state. What they have
in common is the gradient. That of one batch of MNIST in float32 is compared with the rule's own in
float64 at a tolerance of 1e-10, for a recurrent network at its first weights and at those of runs:

    error = ‖g − g*‖ / ‖g*‖,

beside the products with the recurrent weights that a sample took.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from _origin import origin
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from leastcontrol.controllers import DynamicInversion
from leastcontrol.equilibrium import FixedPoint, Tolerance, solved
from leastcontrol.equilibrium._joint import FREE_STEPS
from leastcontrol.files import write_json
from leastcontrol.rules import AbstractRule, Batch, LeastControl, RecurrentBackpropagation
from leastcontrol.runs import samples, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.folders import read_config, seed_folders
from leastcontrol.systems import AbstractSystem

BATCH, LEAK = 64, 6.4
TOLERANCES = (1e-5, 1e-4, 1e-3)
EXACT = Tolerance(1e-10)
LONG = FixedPoint(max_steps=5000)
# A joint step has a product for the state and one for the control.
RULES: dict[str, tuple[Callable[[Tolerance], AbstractRule], int, int]] = {
    "least control": (
        lambda tolerance: LeastControl(DynamicInversion(tolerance, LONG), LEAK),
        FREE_STEPS,
        2,
    ),
    "recurrent backpropagation": (
        lambda tolerance: RecurrentBackpropagation(tolerance=tolerance),
        0,
        1,
    ),
}


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Returns a pytree with all its floating-point arrays in a dtype."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree
    )


def rows_of(weights: str, system: AbstractSystem, batch: Batch) -> list[dict[str, Any]]:
    """Returns a row for each rule and tolerance."""
    rows = []
    for name, (make, before, products) in RULES.items():
        reference = _credit(make(EXACT), cast(system, jnp.float64), cast(batch, jnp.float64))
        if not solved(reference.solution).all():
            raise SystemExit(f"{name} on {weights}: a sample of the reference was not solved.")
        exact, _ = ravel_pytree(reference.gradient)
        for tolerance in TOLERANCES:
            credit = _credit(make(Tolerance(tolerance)), system, batch)
            gradient, _ = ravel_pytree(cast(credit.gradient, jnp.float64))
            error = jnp.linalg.norm(gradient - exact) / jnp.linalg.norm(exact)
            steps = credit.solution.stats.steps.mean()
            rows.append(
                {
                    "weights": weights,
                    "rule": name,
                    "tolerance": tolerance,
                    "error": float(error),
                    "products": float(before + products * steps),
                    "solved": float(solved(credit.solution).mean()),
                }
            )
            print(
                f"{weights:24} {name:26} {tolerance:7.0e} {float(error):9.1e} "
                f"{rows[-1]['products']:6.1f}"
            )
    return rows


def _credit(rule: AbstractRule, system: AbstractSystem, batch: Batch) -> Any:
    return eqx.filter_jit(rule)(system, None, batch)


def systems(folders: Sequence[Path]) -> tuple[list[tuple[str, AbstractSystem]], Batch]:
    """Returns networks at first and learned weights, and the batch."""
    words = RunConfig.of(data="mnist", system="rnn", hidden=(256,))
    splits = samples.load_splits(words)
    networks = [("initialisation", trained.build_system(words, splits, 0))]
    for folder in folders:
        config = read_config(folder)
        seed, at = next(iter(seed_folders(config, folder).items()))
        system, _ = trained.load_trained(config, splits, at, seed)
        networks.append((f"{config.optimiser.epochs} epochs ({folder.name})", system))
    part = splits.train
    return networks, Batch(jnp.asarray(part.inputs[:BATCH]), jnp.asarray(part.targets[:BATCH]))


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, nargs="*", default=[], metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    networks, batch = systems(given.weights)
    # Only now, for what was loaded is in float32.
    jax.config.update("jax_enable_x64", True)
    rows = [row for name, system in networks for row in rows_of(name, system, batch)]
    if given.json is not None:
        write_json(given.json, {"gradients": rows, **origin()})


if __name__ == "__main__":
    main()
