"""What the rules share: a task's weights, how they descend, and gradients like the system."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...equilibrium._trees import tree_add, tree_scale
from ...systems import FastWeights

Weights = PyTree[Float[Array, "..."]]
Task = PyTree[Any]


def descend(
    field: Callable[[Weights], Weights],
    start: Weights,
    steps: int,
    step_size: float,
    momentum: float = 0.0,
) -> Weights:
    """Follows a vector field by Euler steps with momentum: v ← μv + f(φ), φ ← φ + ηv."""

    def step(carry: tuple[Weights, Weights], _: None) -> tuple[tuple[Weights, Weights], None]:
        state, velocity = carry
        velocity = tree_add(tree_scale(momentum, velocity), field(state))
        return (tree_add(state, tree_scale(step_size, velocity)), velocity), None

    still = jax.tree.map(jnp.zeros_like, start)
    return jax.lax.scan(step, (start, still), length=steps)[0][0]


def check_steps(module: Any) -> None:
    """Raises `ValueError` if a module's `steps` or `step_size` is out of its range."""
    name = type(module).__name__
    if module.steps < 1 or not 0 < module.step_size < math.inf:
        raise ValueError(
            f"{name} was given steps={module.steps} and step_size={module.step_size}, but the "
            f"first is at least 1 and the second above 0 and finite: write {name}(steps=100, "
            "step_size=0.03)."
        )


def check_momentum(module: Any) -> None:
    """Raises `ValueError` if a module's `momentum` is out of its range."""
    if not 0 <= module.momentum < 1:
        name = type(module).__name__
        raise ValueError(
            f"{name} was given momentum={module.momentum}, but it is at least 0 and below 1: write "
            f"{name}(momentum=0.9)."
        )


def pulled_back(system: FastWeights, state: Weights, support: Task, signal: Weights) -> PyTree[Any]:
    """Computes ∂_θfᵀa with the fast weights held fixed, as a pytree like the system."""
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    field = lambda learned: eqx.combine(learned, fixed).vector_field(state, support)  # noqa: E731
    return jax.vjp(field, learned)[1](signal)[0]


def for_slow(system: FastWeights, gradient: Weights) -> PyTree[Any]:
    """Turns a gradient of the slow weights into one of the system, zero for the pull."""
    empty = eqx.filter(system, eqx.is_inexact_array)
    pull = jax.tree.map(jnp.zeros_like, system.log_pull)
    return eqx.tree_at(lambda s: (s.model, s.log_pull), empty, (gradient, pull))
