"""Controlled fast weights as the minimum of a function."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...equilibrium import Point, Solution, Tolerance, TrustRegion, minimum
from ...equilibrium._trees import dot, norm, tree_scale
from ...systems import FastWeights
from ._control import AbstractMetaControl, certified
from ._weights import Task, Weights


class AbstractMinimisedControl(AbstractMetaControl):
    """Finds a controlled equilibrium as the minimum of M = αR(φ) + L_evaluate(φ).

    R measures what the control has to hold. The output control is read off as u = ∇R and the
    control of the weights as ψ = −f, so ∇M = αu + ∇L_evaluate is the only residual.
    """

    solver: eqx.AbstractVar[TrustRegion]

    @abc.abstractmethod
    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        """Computes R(φ)."""

    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        restoring = lambda state: self.restoring(system, state, support)  # noqa: E731

        def merit(state: Weights) -> Float[Array, ""]:
            return leak * restoring(state) + system.evaluation(state, query)

        def solution(state: Weights, steps: Int[Array, ""]) -> Solution[Point]:
            control = tree_scale(-1.0, system.vector_field(state, support))
            point = Point(state, control, jax.grad(restoring)(state))
            zero = jnp.zeros_like(norm(state))
            return certified(system, leak, query, point, steps, zero, self.tolerance)

        def error(state: Weights, slope: Weights) -> Float[Array, ""]:
            del slope
            # With room for the rounding between this measurement and the last.
            return 2 * solution(state, jnp.asarray(0, jnp.int32)).stats.error

        state, steps = minimum(merit, system.slow_weights, error, self.solver)
        return solution(state, steps)


class DirectControl(AbstractMinimisedControl):
    """The equilibrium of the paper's dynamics, in which u acts on the weights directly (Q = I).

    ψ = u = −∇L_evaluate/α: the weights minimise L_learn + ½λ‖φ − ω‖² + L_evaluate/α. For α → 0 it
    is the least control. For α > 0 its update is not the gradient of an objective (arXiv
    2207.01332, proposition S9); see `OptimalControl`.

    **Arguments:** `tolerance` and `solver` as for `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        return system.potential(state, support)


class OptimalControl(AbstractMinimisedControl):
    """The least control at any leak: ψ solves ∂_φfᵀψ + u = 0, Q = −(∂_φf)⁻ᵀ.

    The weights minimise F = ½‖f‖² + L_evaluate/α, and the update is the exact gradient of that
    minimum (theorem 1). Solving for it takes derivatives of L_learn up to the third.

    **Arguments:** `tolerance` and `solver` as for `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        field = system.vector_field(state, support)
        return 0.5 * dot(field, field)
