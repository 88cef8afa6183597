"""Adaptations: the ways in which fast weights learn a task."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ...equilibrium import Certificate, Solution, Tolerance, TrustRegion, minimum, verdict
from ...equilibrium._trees import norm, tree_scale
from ...systems import FastWeights
from ._weights import Task, Weights, check_momentum, check_steps, descend


class AbstractAdaptation(eqx.Module):
    """Takes the slow weights to fast weights that have learned a task."""

    @abc.abstractmethod
    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        """Adapts to a support set; returns the fast weights and the number of steps taken."""

    @abc.abstractmethod
    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Computes the vector field of the adaptation, which is zero where it is at rest."""

    def solution(self, system: FastWeights, support: Task, tolerance: Tolerance) -> Solution:
        """Adapts to a support set and measures the residual at the fast weights."""
        state, steps = self.adapt(system, support)
        return self.certified(system, state, steps, support, tolerance)

    def certified(
        self,
        system: FastWeights,
        state: Weights,
        steps: Int[Array, ""],
        support: Task,
        tolerance: Tolerance,
    ) -> Solution:
        """Measures the residual at fast weights that were reached in `steps` steps."""
        residual = norm(self.residual(system, state, support))
        error = tolerance.free_error(residual, norm(state))
        zero = jnp.zeros_like(residual)
        return Solution(
            state, verdict(error), Certificate(steps, residual, zero, zero, zero, error)
        )


class GradientDescent(AbstractAdaptation):
    """φ ← φ − η∇L_learn(φ), starting at ω, with no pull: the adaptation of MAML and Reptile.

    It stops after a fixed number of steps and is not meant to come to rest. Its residual is
    ∇L_learn nevertheless.

    **Arguments:** `steps` ≥ 1, the step size η > 0, and the momentum 0 ≤ μ < 1 of the descent.

    **Raises:** `ValueError` if one of them is out of its range.
    """

    steps: int = eqx.field(static=True, default=5)
    step_size: float = eqx.field(static=True, default=0.01)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_steps(self)
        check_momentum(self)

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        field = lambda state: self.residual(system, state, support)  # noqa: E731
        state = descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        return state, jnp.asarray(self.steps, jnp.int32)

    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Computes −∇L_learn(φ)."""
        return tree_scale(-1.0, jax.grad(system.learning)(state, support))


class Relaxation(AbstractAdaptation):
    """φ ← φ + ηf(φ), starting at ω: Euler steps of the free dynamics.

    (arXiv 2207.01332, section S4.5.)

    **Arguments:** `steps` ≥ 1, the step size η > 0, and the momentum 0 ≤ μ < 1 of the descent.

    **Raises:** `ValueError` if one of them is out of its range.
    """

    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_steps(self)
        check_momentum(self)

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        field = lambda state: self.residual(system, state, support)  # noqa: E731
        state = descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        return state, jnp.asarray(self.steps, jnp.int32)

    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Computes f(φ)."""
        return system.vector_field(state, support)


class Settled(AbstractAdaptation):
    """The free equilibrium f(φ) = 0, found by minimising its potential.

    **Arguments:** the `tolerance` at which it stops, and `solver`, as for `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        return minimum(
            lambda state: system.potential(state, support),
            system.slow_weights,
            lambda state, slope: self.tolerance.free_error(norm(slope), norm(state)),
            self.solver,
        )

    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Computes f(φ)."""
        return system.vector_field(state, support)
