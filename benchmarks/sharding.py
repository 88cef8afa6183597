"""What each device holds when several hold one copy of the weights between them.

    python benchmarks/sharding.py --json results/sharding.json

A processor is divided into eight devices. Each network trains for a step, on one device and then
with one copy on two, four and eight devices, two copies on four devices each, and eight copies on
one device each. Measured are the bytes on the first device: of the weights and of Adam's two
averages, by the parts of the arrays that lie there, and of the working memory, as XLA plans it for
the compiled step. Numbers are of double precision, so that what the order of sums changes in the
trained weights is told from a mistake. Random samples: the memory does not depend on them. No time
is measured, because simulated devices share the cores of one processor.
"""

import argparse
import os
from pathlib import Path
from typing import Any

# Before JAX is first used.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from jaxtyping import Array, PyTree

from leastcontrol import data, training
from leastcontrol.controllers import DynamicInversion
from leastcontrol.files import write_json
from leastcontrol.rules import LeastControl
from leastcontrol.systems import (
    AbstractSystem,
    Affine,
    DeepEquilibrium,
    EquilibriumRNN,
    FanInUniform,
    Feedforward,
)

# Devices, and those of them that hold one copy.
LAYOUTS = ((1, 1), (2, 2), (4, 4), (8, 8), (8, 4), (8, 1))
INPUTS, WIDTH, OUTPUTS, BATCH, STEPS = 256, 512, 16, 64, 1
LEAK = 6.4
MEBIBYTE = 2**20
KEY = jax.random.key(0)


class Cell(eqx.Module):
    """The map (φ, e) ↦ tanh(V tanh(Wφ) + e)."""

    up: Affine
    down: Affine

    def __call__(self, state: Array, drive: Array) -> Array:
        return jnp.tanh(self.down(jnp.tanh(self.up(state))) + drive)


def systems() -> dict[str, AbstractSystem]:
    """Returns the networks by their names."""

    def affine(inputs: int, outputs: int, number: int) -> Affine:
        key = jax.random.fold_in(KEY, number)
        return Affine.initialise(inputs, outputs, FanInUniform(), key=key)

    cell = Cell(affine(WIDTH, 2 * WIDTH, 1), affine(2 * WIDTH, WIDTH, 2))
    hidden = (WIDTH, WIDTH, WIDTH)
    return {
        f"feedforward, 3 × {WIDTH}": Feedforward(INPUTS, hidden, OUTPUTS, key=KEY),
        f"recurrent, {WIDTH}": EquilibriumRNN(INPUTS, WIDTH, OUTPUTS, key=KEY),
        f"deep equilibrium, {WIDTH}-{2 * WIDTH}-{WIDTH}": DeepEquilibrium(
            affine(INPUTS, WIDTH, 0), cell, affine(WIDTH, OUTPUTS, 3)
        ),
    }


def samples() -> data.Dataset:
    """Draws the samples of the steps."""
    count = BATCH * STEPS
    inputs = np.random.default_rng(0).normal(size=(count, INPUTS)).astype(np.float32)
    made = data.Provenance(source="made here", licence="none", origin="memory", checksums={})
    labels = np.arange(count, dtype=np.int32) % OUTPUTS
    return data.Dataset("random", inputs, labels, OUTPUTS, (INPUTS,), made)


def trained(system: AbstractSystem, devices: int, per_copy: int) -> training.Trained:
    """Trains a network for the steps of one epoch."""
    config = training.TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=1e-3)
    mesh = training.device_mesh(devices, per_copy) if devices > 1 else None
    rule = LeastControl(DynamicInversion(), LEAK)
    random = samples()
    return training.train(system, rule, random, random, config, seed=0, mesh=mesh)


def arrays(tree: PyTree[Any]) -> list[Array]:
    """Lists the arrays of a pytree."""
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]


def held_mib(tree: PyTree[Any]) -> float:
    """Adds up the parts of arrays that lie on the first device."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in arrays(tree)) / MEBIBYTE


def measured(name: str, system: AbstractSystem) -> list[dict[str, Any]]:
    """Returns a row for each layout of devices."""
    whole, rows = None, []
    for devices, per_copy in LAYOUTS:
        run = trained(system, devices, per_copy)
        whole = run if whole is None else whole
        pairs = zip(arrays(run.system), arrays(whole.system), strict=True)
        held = {
            "weights_mib": held_mib(run.system),
            "averages_mib": held_mib(run.optimiser_states),
            "working_mib": run.metrics[-1].step_bytes / MEBIBYTE,
        }
        # What a step changes stands twice in memory: as it was and as it will be.
        peak = sum(held.values()) + held["weights_mib"] + held["averages_mib"]
        rows.append(
            {
                "network": name,
                "devices": devices,
                "per_copy": per_copy,
                **held,
                "peak_mib": peak,
                "share_of_one": peak / (rows[0]["peak_mib"] if rows else peak),
                "difference": max(float(np.max(np.abs(a - np.asarray(b)))) for a, b in pairs),
                "converged_fraction": run.metrics[-1].converged_fraction,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = [row for name, system in systems().items() for row in measured(name, system)]
    if given.json is not None:
        sizes = {"batch_size": BATCH, "precision": training.precision()}
        write_json(given.json, {"rows": rows, **sizes, **origin()})


if __name__ == "__main__":
    main()
