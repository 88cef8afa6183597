"""Phantom gradients: a few steps of the adjoint equation of recurrent backpropagation.

Deep equilibrium models are often trained in this way, because the exact adjoint costs a second
solve.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..equilibrium import FixedPoint, Tolerance
from ..losses import AbstractLoss, AnyLoss, CrossEntropy, as_loss
from ..systems import AbstractSystem
from ._backpropagation import AbstractRuleAtRest, Adjoint
from ._policy import AbstractUnsolved, Drop
from ._rule import AbstractRuleWithoutFeedback, Aspects


class PhantomGradient(AbstractRuleAtRest, AbstractRuleWithoutFeedback):
    """Estimates the gradient of the loss at the free equilibrium, with a truncated adjoint.

        a_k = λ Σ_{i<k} (1 + λ∂_φfᵀ)ⁱ ∂_φhᵀe,   e = ∇_yL

    for a damping λ and k steps. The adjoint is a damped iteration of the adjoint equation that
    starts at zero and stops after k steps (Geng et al. 2021, the Neumann form at the equilibrium).
    For f = −φ + g this is backpropagation through k steps φ ← (1 − λ)φ + λg(φ). For k → ∞ it tends
    to recurrent backpropagation, if the series converges. It is not the gradient of any function;
    its credit gives the loss as the objective.

    **Arguments:**

    * `loss`: of one sample.
    * `steps`: k, at least 1.
    * `damping`: λ, above 0 and at most 1.
    * `tolerance`, `solver`: of the free equilibrium.
    * `unsolved`: the policy for samples whose free equilibrium was not found.

    **Raises:** `ValueError` if the steps or the damping are out of range.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    steps: int = eqx.field(static=True, default=5)
    damping: float = eqx.field(static=True, default=0.5)
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)
    unsolved: AbstractUnsolved = Drop()

    def __check_init__(self):
        if self.steps < 1 or not 0 < self.damping <= 1:
            raise ValueError(
                f"The phantom gradient was given steps={self.steps} and damping={self.damping}, "
                "but the first is at least 1 and the second above 0 and at most 1: write "
                "PhantomGradient(steps=5, damping=0.5)."
            )

    @property
    def aspects(self) -> Aspects:
        return Aspects(self)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Builds the truncated iteration, which ends after `steps` steps for every sample."""
        del feedback

        def of_one(drive: PyTree, state: PyTree, error: Array) -> tuple[PyTree, Array, Array]:
            _, _, pull = system.pullback(state, drive)

            def step(_: Int[Array, ""], adjoint: PyTree) -> PyTree:
                change = pull(adjoint, error)
                return jax.tree.map(lambda a, c: a + self.damping * c, adjoint, change)

            zero = jax.tree.map(jnp.zeros_like, state)
            adjoint = jax.lax.fori_loop(0, self.steps, step, zero)
            done: Float[Array, ""] = jnp.zeros((), error.dtype)
            return adjoint, jnp.asarray(self.steps, jnp.int32), done

        return jax.vmap(of_one)


def jacobian_free_backpropagation(
    loss: AnyLoss | None = None,
    *,
    tolerance: Tolerance | None = None,
    solver: FixedPoint | None = None,
    unsolved: AbstractUnsolved | None = None,
) -> PhantomGradient:
    """Builds Jacobian-free backpropagation: a = ∂_φhᵀe, the phantom gradient of one full step.

    (Fung et al. 2022.) It needs no adjoint solve, and descends the loss if f = −φ + g has a g that
    contracts strongly enough. **Arguments** as for `PhantomGradient`.
    """
    return PhantomGradient(
        loss=CrossEntropy() if loss is None else as_loss(loss),
        steps=1,
        damping=1.0,
        tolerance=Tolerance() if tolerance is None else tolerance,
        solver=FixedPoint(max_steps=200) if solver is None else solver,
        unsolved=Drop() if unsolved is None else unsolved,
    )
