"""The linear equations of implicit differentiation, as free equilibria of linear systems.

At a state φ of a system, `AdjointSystem` has the vector field a ↦ ∂_φfᵀa + ∂_φhᵀe, which is at rest
at the adjoint of recurrent backpropagation, and `TangentSystem` has v ↦ ∂_φf v. A constant control
is added to either as to any other system. So the solvers of free equilibria solve both directions,
without a matrix, and measure their residuals in the same way.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem, AbstractSystemWithoutDirectFeedback

State = PyTree[Float[Array, "..."]]


class Linearised(NamedTuple):
    """A point of a system, and the error e that is propagated back from its output."""

    drive: PyTree[Any]
    state: PyTree[Float[Array, "..."]]
    output_error: Float[Array, "*outputs"] | None = None


class AbstractLinearSystem(AbstractSystemWithoutDirectFeedback):
    """A linear system at the point of another one, with a state like that one's and no output."""

    system: AbstractSystem
    output_neurons: bool = eqx.field(static=True, default=False)

    @property
    def unit_rate(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the linearised system has f = −φ + g(φ), because then this one has that form."""
        return self.system.unit_rate

    def drive(self, x: Linearised) -> Linearised:
        """Returns the point unchanged."""
        return x

    def initial_state(self, drive: Linearised) -> State:
        """Returns zeros like the linearised state."""
        return jax.tree.map(jnp.zeros_like, drive.state)

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Returns an empty vector."""
        return jnp.zeros(0, jax.tree.leaves(state)[0].dtype)

    def feedback_parameters(self) -> PyTree[bool]:
        """Marks no parameter."""
        return jax.tree.map(lambda _: False, self)


class AdjointSystem(AbstractLinearSystem):
    """The vector field a ↦ ∂_φfᵀa + ∂_φhᵀe at a point.

    Its rest point is the control of dynamic inversion for u = e (arXiv 2207.01332, equation 8), and
    minus the adjoint of recurrent backpropagation for e = ∇_yL. Without an e the second term is
    left out.
    """

    def vector_field(self, state: State, drive: Linearised) -> State:
        _, read, pull = self.system.pullback(drive.state, drive.drive)
        error = jnp.zeros_like(read) if drive.output_error is None else drive.output_error
        return pull(state, error)


class TangentSystem(AbstractLinearSystem):
    """The vector field v ↦ ∂_φf v at a point, by forward-mode differentiation."""

    def vector_field(self, state: State, drive: Linearised) -> State:
        field = lambda at: self.system.vector_field(at, drive.drive)  # noqa: E731
        return jax.jvp(field, (drive.state,), (state,))[1]
