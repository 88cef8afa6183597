"""Rest points without an output controller, and the linear problem that recurrent
backpropagation adds to them.

`FreeProblem` is f(φ) + ψ = 0 for a given control, zero for the free equilibrium; `AdjointProblem`
is the linear equation ∂_φfᵀa + ∂_φhᵀe = 0 at a given state. Both iterate with a unit step, for
which f = −φ + g(φ) gives φ′ = g(φ).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem
from ._certificate import UNKNOWN, Tolerance, rate_between
from ._driver import AbstractProblem
from ._trees import norm, tree_add, tree_subtract


class Controlled(NamedTuple):
    """A drive with the constant control that is added to f."""

    drive: PyTree[Any]
    control: PyTree[Float[Array, "..."]] | None


class Settling(NamedTuple):
    """An iterate: a state, and the state before it with f there if the rate of f is measured."""

    state: PyTree[Array]
    before: tuple[PyTree[Array], PyTree[Array]] | None


class FreeProblem(AbstractProblem):
    """f(φ) + ψ = 0 for a given ψ, by φ ← φ + f(φ) + ψ."""

    system: AbstractSystem
    tolerance: Tolerance

    def initial(self, sample: Controlled) -> Settling:
        return self.start_from(self.system.initial_state(sample.drive))

    def start_from(self, state: PyTree[Array]) -> Settling:
        """Returns the first iterate at a state."""
        nothing = jax.tree.map(jnp.zeros_like, state)
        return Settling(state, None if self.system.unit_rate else (state, nothing))

    def iterate(
        self, sample: Controlled, z: Settling
    ) -> tuple[Settling, Settling, Float[Array, ""]]:
        change = self.system.vector_field(z.state, sample.drive)
        if sample.control is not None:
            change = tree_add(change, sample.control)
        # The sum's size is the state's: at the origin it is that of the change itself.
        size, before = jnp.maximum(norm(z.state), norm(change)), None
        error = self.tolerance.free_error(norm(change), size)
        if z.before is not None:
            step = norm(tree_subtract(z.state, z.before[0]))
            rate = rate_between(norm(tree_subtract(change, z.before[1])), step)
            size, before = jnp.maximum(rate * norm(z.state), norm(change)), (z.state, change)
            # Finite, for a sample goes on until its rate is known.
            unknown = jnp.where(norm(change) > 0, UNKNOWN, 0).astype(error.dtype)
            measured = self.tolerance.free_error(norm(change), size)
            error = jnp.where(step > 0, measured, unknown)
            error = jnp.where(jnp.isfinite(norm(change)), error, jnp.inf)
        return Settling(tree_add(z.state, change), before), z, error

    def mixed(self, z: Settling) -> tuple[PyTree[Array], ...]:
        return (z.state,)

    def with_mixed(self, z: Settling, blocks: tuple[PyTree[Array], ...]) -> Settling:
        return z._replace(state=blocks[0])


class Linearised(NamedTuple):
    """A rest point and the error e that is sent back from its output."""

    drive: PyTree[Any]
    state: PyTree[Float[Array, "..."]]
    output_error: Float[Array, "*outputs"]


class AdjointProblem(AbstractProblem):
    """∂_φfᵀa + ∂_φhᵀe = 0 at a state, by a ← a + ∂_φfᵀa + ∂_φhᵀe.

    Its solution is the control that dynamic inversion finds for u = e (arXiv 2207.01332, equation
    8), and minus the adjoint of recurrent backpropagation for e = ∇_yL.
    """

    system: AbstractSystem
    tolerance: Tolerance

    def initial(self, sample: Linearised) -> PyTree[Array]:
        return jax.tree.map(jnp.zeros_like, sample.state)

    def iterate(
        self, sample: Linearised, z: PyTree[Array]
    ) -> tuple[PyTree[Array], PyTree[Array], Float[Array, ""]]:
        _, _, pull = self.system.pullback(sample.state, sample.drive)
        change = pull(z, sample.output_error)
        size = jnp.maximum(norm(z), norm(change))
        return tree_add(z, change), z, self.tolerance.free_error(norm(change), size)

    def mixed(self, z: PyTree[Array]) -> tuple[PyTree[Array], ...]:
        return (z,)

    def with_mixed(self, z: PyTree[Array], blocks: tuple[PyTree[Array], ...]) -> PyTree[Array]:
        return blocks[0]
