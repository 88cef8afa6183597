"""A bound on the gap between the energy at a controlled equilibrium and the minimal energy.

A controlled equilibrium is a stationary point of F, which need not be the global minimum. A lower
bound of F follows from a bound of the gain: a control of norm ‖ψ‖ moves the readout by at most
K‖ψ‖, so F is at least the energy of an ideal control that moves it by K‖ψ‖ in the best direction.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ..equilibrium import (
    ControlProblem,
    FixedPoint,
    Point,
    Sample,
    energy_and_loss,
    free_equilibrium,
)
from ..systems import AbstractSystem, EquilibriumRNN, Feedforward, gelu, identity, relu, tanh

# The largest slope of each activation; gelu's is at √2.
LARGEST_SLOPES: dict[Any, float] = {tanh: 1.0, relu: 1.0, identity: 1.0, gelu: 1.13}
# Number of responses that the bound iterates, starting without control.
ANSWERS = 32


class EnergyGap(NamedTuple):
    """F at a point, a lower bound of F at any point, and their difference, for each sample."""

    energy: Float[Array, " batch"]
    lower_bound: Float[Array, " batch"]
    gap: Float[Array, " batch"]


def largest_gain(system: AbstractSystem) -> Float[Array, ""]:
    """Computes a bound K with ‖h(φ(ψ)) − h(φ(0))‖ ≤ K‖ψ‖ for every control ψ of every sample.

    For layers with weights W_2 … W_{L+1} and an activation with slopes up to s,

        K² = Σ_i Π_{j > i} s²‖W_j‖²,

    and for a recurrent network s‖D‖ / (1 − s‖W‖), which is infinite where s‖W‖ ≥ 1.

    **Raises:** `ValueError` for a system or an activation without a known bound.
    """
    if not isinstance(system, (Feedforward, EquilibriumRNN)):
        raise ValueError(
            f"No bound of the gain of a {type(system).__name__} is known: give a Feedforward or an "
            "EquilibriumRNN."
        )
    if system.activation not in LARGEST_SLOPES:
        raise ValueError(
            "No largest slope of the system's activation is known: give a system with tanh, relu, "
            "gelu or identity of leastcontrol.systems."
        )
    slope = LARGEST_SLOPES[system.activation]
    if isinstance(system, EquilibriumRNN):
        loop = slope * jnp.linalg.norm(system.recurrent, 2)
        read = slope * jnp.linalg.norm(system.output.weight, 2)
        return jnp.where(loop < 1, read / jnp.where(loop < 1, 1 - loop, 1.0), jnp.inf)
    path, square = jnp.ones(()), jnp.zeros(())
    for layer in reversed(system.layers[1:]):
        path = path * (slope * jnp.linalg.norm(layer.weight, 2)) ** 2
        square = square + path
    return jnp.sqrt(square)


@eqx.filter_jit
def energy_gap(problem: ControlProblem, samples: Sample, points: Point) -> EnergyGap:
    """Computes F at controlled equilibria and a lower bound of its minimum.

        F = ½‖ψ‖² + ½‖u‖² + L/α ≥ min_Δ ½‖Δ‖²/(K² + 1) + L(h(φ(0)) + Δ)/α

    with K from `largest_gain`, and K² instead of K² + 1 for a system without output neurons. The
    gap is zero if the bound is attained, for example by a linear readout with as many neurons as
    outputs. For deep networks, or a loop gain near one, the gap is large and uninformative.

    **Arguments:**

    * `problem`, `samples`, `points`: the problem, the samples, and their solutions.

    **Raises:** `ValueError` as for `largest_gain`, and for a leak of 0.
    """
    if not isinstance(problem.leak, Tracer) and problem.leak == 0:
        raise ValueError(
            "The leak is 0, for which the energy holds no loss: give a problem with a leak above 0."
        )
    system, loss = problem.system, problem.loss
    gain = largest_gain(system) ** 2 + problem.own_gain
    known = jnp.isfinite(gain)
    solver = FixedPoint.mixed_later()
    free = free_equilibrium(system, samples.drive, solver=solver).value

    def of_one(sample: Sample, state: PyTree, point: Point) -> tuple[Array, Array]:
        start, leak = system.readout(state), problem.leak_of(sample)
        safe = jnp.where(known, gain, 1.0)
        answer = lambda _, u: loss.response(start, safe, leak, sample.target, u)  # noqa: E731
        u = jax.lax.fori_loop(0, ANSWERS, answer, jnp.zeros_like(start))
        least = 0.5 * safe * jnp.sum(u**2) + loss(start + safe * u, sample.target) / leak
        energy, _ = energy_and_loss(problem, sample, point)
        # With an infinite gain the only bound is 0, because losses are not negative.
        return energy, jnp.where(known, least, 0.0)

    energy, bound = jax.vmap(of_one)(samples, free, points)
    return EnergyGap(energy, bound, energy - bound)
