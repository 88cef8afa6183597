"""Baselines that send the loss's gradient back through weights that are drawn once and stay.

They need no transposed weights and no control: the system is read at its free equilibrium. Their
updates are backpropagation's with its backward path replaced, and agree with it only as far as the
forward weights come to align with what was drawn.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..controllers import (
    check_feedback,
    direct_weights,
    direct_weights_like,
    mirror_of,
    mirror_weights,
    tree_slope,
)
from ..equilibrium import FixedPoint, LinearPath, Point, Sample, Tolerance
from ..losses import AbstractLoss, CrossEntropy
from ..systems import AbstractSystem
from ._backpropagation import AbstractRuleAtRest, Adjoint, adjoint_of
from ._policy import AbstractUnsolved, Drop


class FeedbackAlignment(AbstractRuleAtRest):
    """Backpropagation through a mirror of the system with random weights.

        ΔW = −a σ(φ)ᵀ,   ∂_φf_Sᵀa + ∂_φh_Sᵀ∇_yL = 0

    at the free equilibrium (Lillicrap and others, Nature Communications 2016; for a recurrent
    system the same in recurrent backpropagation). The mirror is that of `KolenPollack`, which in
    the limit of weak control is this rule with feedback that learns.

    **Arguments:**

    * `loss`: of one sample.
    * `tolerance`: of both residuals, relative to ‖φ‖ and to ‖a‖.
    * `solver`: of both iterations; an ordered system's state is settled in one pass, and a pass
      for each of its layers ends the second.
    * `unsolved`: what becomes of samples that are not solved.
    """

    loss: AbstractLoss = CrossEntropy()
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)
    unsolved: AbstractUnsolved = Drop()

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns normal weights, each array's with the root mean square of the system's own."""
        return mirror_weights(system, key=key)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Returns the solve of ∂_φf_Sᵀa + ∂_φh_Sᵀe = 0."""
        return adjoint_of(mirror_of(system, feedback), self.tolerance, self.solver)


class DirectFeedbackAlignment(AbstractRuleAtRest):
    """The loss's gradient straight to every neuron, through random weights.

        ΔW = −a σ(φ)ᵀ,   a = σ′(φ) Q ∇_yL

    at the free equilibrium (Nøkland, NeurIPS 2016), with the factor σ′ that the published code of
    deep feedback control leaves out. For a system whose activation is not known the factor is 1.

    **Arguments:** as those of `FeedbackAlignment`; `solver` is of the free equilibrium.
    """

    loss: AbstractLoss = CrossEntropy()
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)
    unsolved: AbstractUnsolved = Drop()

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns weights uniform in ±1/√n for a state of n elements."""
        return direct_weights(system, key=key)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Returns e ↦ σ′(φ)Qe, which takes no steps and has no error."""
        check_feedback(feedback, jax.eval_shape(direct_weights_like, system))

        def adjoint(
            drives: PyTree, states: PyTree, errors: Array
        ) -> tuple[PyTree[Array], Int[Array, " batch"], Float[Array, " batch"]]:
            def of_one(drive: PyTree, state: PyTree, error: Array) -> PyTree[Array]:
                sample, point = Sample(drive, None), Point(state, state, error)
                return tree_slope(system, state, LinearPath(feedback).carry(sample, point))

            signal = jax.vmap(of_one)(drives, states, errors)
            nothing = jnp.zeros(errors.shape[0], errors.dtype)
            return signal, nothing.astype(jnp.int32), nothing

        return adjoint
