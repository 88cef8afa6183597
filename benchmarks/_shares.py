"""Trained systems, and solves of them whose control removes an asked share of the loss."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from leastcontrol import data, training
from leastcontrol.controllers import RelativeLeak
from leastcontrol.equilibrium import Sample, Solution, energy_and_loss, solved
from leastcontrol.losses import AbstractLoss
from leastcontrol.rules import Batch
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.trained import build_system
from leastcontrol.systems import AbstractSystem
from leastcontrol.training import LinearCourse


def trained_by(config: RunConfig, seed: int) -> tuple[training.Trained, data.SampleSplits]:
    """Trains the system of a configuration; returns it with the data."""
    config.check()
    splits = load_splits(config)
    result = training.train(
        build_system(config, splits, seed),
        config.build_rule(),
        splits.train,
        splits.validation,
        config.build_training(),
        seed=seed,
    )
    return result, splits


@eqx.filter_jit
def removed_by(
    controller: Any, system: AbstractSystem, loss: AbstractLoss, batch: Batch, kappa: jax.Array
) -> tuple[jax.Array, jax.Array, Solution]:
    """Computes the share that a κ removes, over the solved samples, and the gain."""
    control = RelativeLeak(kappa)
    problem = control.problem(system, loss)
    asked = control.ask(problem, Sample(jax.vmap(system.drive)(batch.inputs), batch.targets))
    solution = controller.equilibrium(problem, asked.samples)
    assert asked.free_loss is not None
    losses = jax.vmap(lambda s, p: energy_and_loss(problem, s, p)[1])(asked.samples, solution.value)
    ok = solved(solution)
    share = 1 - jnp.sum(losses, where=ok) / jnp.sum(asked.free_loss, where=ok)
    gains = jax.vmap(problem.leak_of)(asked.samples) / kappa
    return share, jnp.mean(gains), solution


def kappa_for(
    share: float,
    controller: Any,
    system: AbstractSystem,
    loss: AbstractLoss,
    batch: Batch,
    *,
    missed: float,
    most_solves: int,
) -> jax.Array:
    """Finds the κ that removes a share of the loss.

    **Arguments:** `missed`, by how much the share may be missed; `most_solves`, after how many
    solves the last κ is taken as it is.
    """
    course = LinearCourse(share, share)
    kappa = course.first_kappa()
    for _ in range(most_solves):
        removed, _, _ = removed_by(controller, system, loss, batch, kappa)
        if abs(float(removed) - share) < missed:
            break
        kappa = course.adjusted(kappa, removed, jnp.asarray(1.0))
    return kappa
