"""The normal draws of noisy dynamics and of noisy updates."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...equilibrium import Dynamics, normal_draws
from .._rule import Counted
from ._phase import PhaseResult, Updates
from ._task import Task


def noise_of_updates(
    task: Task, result: PhaseResult, deviation: float, key: PRNGKeyArray | None
) -> Updates:
    """Computes Σ_b ε_i r_{i−1}ᵀ and Σ_b ε_i for noise ε_i that is constant during a phase.

    **Raises:** `ValueError` if there is no key.
    """
    if key is None:
        raise ValueError(
            "The updates have noise, which is drawn from a key: call the rule with "
            "key=jax.random.key(0)."
        )
    rates = Counted.of(result.weights).safe(result.solution.value.moment.rates)
    drawn = normal_draws(key, task.free.soma)(jnp.asarray(0))
    noise = [deviation * result.weights[:, None] * draw for draw in drawn]
    return tuple(
        (part.T @ rate, jnp.sum(part, axis=0))
        for part, rate in zip(noise, (task.inputs, *rates), strict=True)
    )


def draws_of(dynamics: Dynamics | None, task: Task, key: PRNGKeyArray | None) -> Any:
    """Draws the increments of the dynamics' noise; returns `None` if there is no noise.

    **Raises:** `ValueError` if there is noise and no key.
    """
    if dynamics is None or dynamics.noise is None:
        return None
    if key is None:
        raise ValueError(
            "The simulated dynamics have noise, which is drawn from a key: call the rule with "
            "key=jax.random.key(0)."
        )
    return dynamics.noise.increments(key, task.free.soma)
