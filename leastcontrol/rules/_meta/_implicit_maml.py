"""Implicit MAML: the gradient of the loss at the free equilibrium of the fast weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import PyTree

from ...equilibrium import Tolerance
from ...equilibrium._trees import norm, tree_scale
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, Relaxation
from ._rule import AbstractAfterAdaptation
from ._weights import Task, Weights, pulled_back


class ImplicitMAML(AbstractAfterAdaptation):
    """The implicit gradient of L_evaluate(φ⋆(ω)): Δω = −λδ, (∂²L_learn + λ)δ = ∇L_evaluate(φ⋆).

    (Rajeswaran et al., arXiv 1909.04630.) It is exact at the free equilibrium. Conjugate gradients
    solve for δ without forming the Hessian. They assume that the Hessian is positive definite, as
    it is at a minimum; elsewhere they can break down, and then the task does not count, because its
    gradient is not finite.

    **Arguments:**

    * `adaptation`, `unsolved`, `tolerance`: as for the others.
    * `products`: the largest number of products of the Hessian with a vector.
    * `accuracy`: the relative residual at which conjugate gradients stop.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()
    products: int = eqx.field(static=True, default=5)
    accuracy: float = eqx.field(static=True, default=1e-6)

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        slope_of = jax.grad(lambda state: system.potential(state, support))
        operator = lx.FunctionLinearOperator(
            lambda v: jax.jvp(slope_of, (state,), (v,))[1],
            jax.eval_shape(lambda: state),
            lx.positive_semidefinite_tag,
        )
        slope = jax.grad(system.evaluation)(state, query)
        length = jnp.maximum(norm(slope), jnp.finfo(norm(slope).dtype).tiny)
        solver = lx.CG(
            rtol=self.accuracy, atol=self.accuracy, norm=optx.two_norm, max_steps=self.products
        )
        unit = tree_scale(1 / length, slope)
        signal = lx.linear_solve(operator, unit, solver, throw=False).value
        return pulled_back(system, state, support, tree_scale(length, signal))
