"""Why samples of a recurrent network are not solved, and what solves them.

    python benchmarks/recurrent_rest_points.py --weights runs/rnn-rbp-free \
        --json results/recurrent-rest-points.json

The training samples of MNIST that 200 plain steps leave unsolved are looked at one by one:

* whether the dynamics φ̇ = f(φ), integrated from zero for 300 units of time by Heun's method, rest;
* whether a solver that mixes iterates finds a rest point, and whether it is the one of the
  dynamics, up to a hundredth of its norm;
* whether that rest point is stable: the largest real part of the spectrum of ∂_φf there;
* whether it is stable under unit steps: the spectral radius of 1 + ∂_φf.
"""

import argparse
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from jaxtyping import Array, Float

from leastcontrol.equilibrium import FixedPoint, InTurn, free_equilibrium, solved
from leastcontrol.files import write_json
from leastcontrol.runs import samples, trained
from leastcontrol.runs.folders import read_config, seed_folders
from leastcontrol.systems import AbstractSystem

TIME, STEP = 300.0, 0.15
SOLVERS = {
    "plain": FixedPoint(200),
    "plain, then mixed": FixedPoint.mixed_later(200),
    "mixed": FixedPoint(200, memory=8),
    "in turn": InTurn(),
}


@eqx.filter_jit
def flow(system: AbstractSystem, drives: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
    """Integrates the dynamics of a batch from their initial states."""
    field = jax.vmap(system.vector_field)

    def step(_: int, states: Array) -> Array:
        slope = field(states, drives)
        return states + STEP / 2 * (slope + field(states + STEP * slope, drives))

    first = jax.vmap(system.initial_state)(drives)
    return jax.lax.fori_loop(0, round(TIME / STEP), step, first)


@eqx.filter_jit
def jacobians(system: AbstractSystem, states: Array, drives: Array) -> Float[Array, "batch n n"]:
    """Computes ∂_φf at each state."""
    return jax.vmap(jax.jacfwd(system.vector_field))(states, drives)


def row_of(weights: str, system: AbstractSystem, inputs: Array, looked_at: int) -> dict[str, Any]:
    """Measures a network on some inputs, and at most `looked_at` unsolved ones by dynamics."""
    drives = jax.jit(jax.vmap(system.drive))(inputs)
    solutions = {
        name: eqx.filter_jit(
            lambda drives, solver=solver: free_equilibrium(system, drives, solver=solver)
        )(drives)
        for name, solver in SOLVERS.items()
    }
    row: dict[str, Any] = {"weights": weights, "samples": len(inputs)}
    row["solved"] = {name: float(solved(given).mean()) for name, given in solutions.items()}
    row["steps"] = {name: float(given.stats.steps.mean()) for name, given in solutions.items()}
    hard = np.flatnonzero(~np.asarray(solved(solutions["plain"])))[:looked_at]
    row["looked_at"] = len(hard)
    if not len(hard):
        return row
    mixed = solutions["plain, then mixed"]
    states, drives = mixed.value[hard], drives[hard]
    ends = flow(system, drives)
    size = np.linalg.norm(ends, axis=1)
    speed = np.linalg.norm(jax.vmap(system.vector_field)(ends, drives), axis=1)
    rests, mended = speed <= 1e-5 * size, np.asarray(solved(mixed))[hard]
    same = np.linalg.norm(states - ends, axis=1) <= 1e-2 * size
    spectra = np.linalg.eigvals(np.asarray(jacobians(system, states, drives), np.float64))
    stable = spectra.real.max(axis=1) < 0
    swings = np.abs(1 + spectra).max(axis=1) > 1
    counts = {
        "dynamics_rest": rests,
        "mended": mended,
        "solved_where_dynamics_rest": rests & mended,
        "same_rest_point": rests & mended & same,
        "unstable": mended & ~stable,
        "stable_but_not_under_unit_steps": mended & stable & swings,
    }
    return row | {name: int(which.sum()) for name, which in counts.items()}


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument(
        "--samples", type=int, default=4000, help="training samples that are solved"
    )
    parser.add_argument(
        "--looked-at", type=int, default=120, help="of those, unsolved ones at most"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    rows = []
    for folder in given.weights:
        config = read_config(folder)
        splits = samples.load_splits(config)
        seed, at = next(iter(seed_folders(config, folder).items()))
        system, _ = trained.load_trained(config, splits, at, seed)
        inputs = jnp.asarray(splits.train.inputs[: given.samples])
        name = f"{config.optimiser.epochs} epochs ({folder.name})"
        rows.append(row_of(name, system, inputs, given.looked_at))
        print(rows[-1])
    if given.json is not None:
        write_json(given.json, {"networks": rows, **origin()})


if __name__ == "__main__":
    main()
