"""Baselines that send the gradient of the loss back through random weights, which do not learn.

They need no transposed weights and no control: they update at the free equilibrium. Their updates
are those of backpropagation with another backward path, and agree with backpropagation only as far
as learning aligns the forward weights with the random ones.
"""

from typing import Any

import equinox as eqx
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
from ..equilibrium import FixedPoint, LinearPath, MirrorPath, Point, Sample, Tolerance
from ..losses import AbstractLoss, CrossEntropy, as_loss
from ..systems import AbstractSystem
from ._backpropagation import AbstractRuleAtRest, Adjoint, adjoint_of
from ._policy import AbstractUnsolved, Drop
from ._rule import Aspects


class FeedbackAlignment(AbstractRuleAtRest):
    """Backpropagates through a mirror of the system with random weights.

        ΔW = −a σ(φ)ᵀ,   ∂_φf_Sᵀa + ∂_φh_Sᵀ∇_yL = 0

    at the free equilibrium (Lillicrap and others, Nature Communications 2016). For a recurrent
    system it replaces the weights in recurrent backpropagation. The mirror is that of
    `KolenPollack`; in the limit of weak control `KolenPollack` is this rule with feedback that
    learns.

    **Arguments:**

    * `loss`: of one sample.
    * `tolerance`: of both residuals, relative to ‖φ‖ and to ‖a‖.
    * `solver`: of both iterations. An ordered system settles in one pass, and the second iteration
      ends after one pass for each of its layers.
    * `unsolved`: the policy for unsolved samples.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)
    unsolved: AbstractUnsolved = Drop()

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws normal weights; each array has the root mean square of the system's array."""
        return mirror_weights(system, key=key)

    @property
    def aspects(self) -> Aspects:
        return Aspects(self, path=self.path)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Builds the solve of ∂_φf_Sᵀa + ∂_φh_Sᵀe = 0."""
        return adjoint_of(mirror_of(system, feedback), self.tolerance, self.solver)

    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> MirrorPath:
        """Builds the path of the errors through the mirror of the system."""
        return MirrorPath(mirror_of(system, feedback))


class DirectFeedbackAlignment(AbstractRuleAtRest):
    """Sends the gradient of the loss straight to every neuron, through random weights.

        ΔW = −a σ(φ)ᵀ,   a = σ′(φ) Q ∇_yL

    at the free equilibrium (Nøkland, NeurIPS 2016). The factor σ′ is included, although the
    published code of deep feedback control leaves it out; it is 1 for a system whose activation is
    not known.

    **Arguments:** as those of `FeedbackAlignment`; `solver` is of the free equilibrium.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)
    unsolved: AbstractUnsolved = Drop()

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws weights uniformly from ±1/√n for a state of n elements."""
        return direct_weights(system, key=key)

    @property
    def aspects(self) -> Aspects:
        return Aspects(self, path=self.path)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Builds the map e ↦ σ′(φ)Qe, which takes no steps and has no error."""
        path = self.path(system, feedback)

        def adjoint(
            drives: PyTree, states: PyTree, errors: Array
        ) -> tuple[PyTree[Array], Int[Array, " batch"], Float[Array, " batch"]]:
            def of_one(drive: PyTree, state: PyTree, error: Array) -> PyTree[Array]:
                sample, point = Sample(drive, None), Point(state, state, error)
                return tree_slope(system, state, path.carry(sample, point))

            signal = jax.vmap(of_one)(drives, states, errors)
            nothing = jnp.zeros(errors.shape[0], errors.dtype)
            return signal, nothing.astype(jnp.int32), nothing

        return adjoint

    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> LinearPath:
        """Builds the path Qe of the errors."""
        check_feedback(feedback, jax.eval_shape(direct_weights_like, system))
        return LinearPath(feedback)
