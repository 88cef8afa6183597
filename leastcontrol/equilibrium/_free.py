"""Equilibria without an output controller, and the adjoint problem of recurrent backpropagation.

`FreeProblem` solves f(φ) + ψ = 0 for a given control ψ, which is zero for the free equilibrium.
`AdjointProblem` solves the linear equation ∂_φfᵀa + ∂_φhᵀe = 0 at a given state. Both iterate with
a unit step, which for f = −φ + g(φ) is φ′ = g(φ).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem
from ._certificate import Tolerance
from ._driver import AbstractProblem
from ._rate import Last, while_known
from ._trees import norm, tree_add


class Controlled(NamedTuple):
    """A drive, and a constant control that is added to f."""

    drive: PyTree[Any]
    control: PyTree[Float[Array, "..."]] | None


class Settling(NamedTuple):
    """An iterate: a state, and the previous one if the rate of f is measured."""

    state: PyTree[Array]
    last: Last | None


class FreeProblem(AbstractProblem):
    """f(φ) + ψ = 0 for a given ψ, by φ ← φ + f(φ) + ψ."""

    system: AbstractSystem
    tolerance: Tolerance

    def initial(self, sample: Controlled) -> Settling:
        return self.start_from(self.system.initial_state(sample.drive))

    def start_from(self, state: PyTree[Array]) -> Settling:
        """Makes the first iterate from a state."""
        return Settling(state, Last.first(self.system, state))

    def iterate(
        self, sample: Controlled, z: Settling
    ) -> tuple[Settling, Settling, Float[Array, ""]]:
        change = self.system.vector_field(z.state, sample.drive)
        if sample.control is not None:
            change = tree_add(change, sample.control)
        rate, known, last = 1.0, None, None
        if z.last is not None:
            (rate, known), last = z.last.rate(z.state, change), Last(z.state, change)
        # The rounding floor scales with the state, and at the origin with the change.
        size = jnp.maximum(rate * norm(z.state), norm(change))
        error = self.tolerance.free_error(norm(change), size)
        error = error if known is None else while_known(error, known)
        return Settling(tree_add(z.state, change), last), z, error

    def mixed(self, z: Settling) -> tuple[PyTree[Array], ...]:
        return (z.state,)

    def with_mixed(self, z: Settling, blocks: tuple[PyTree[Array], ...]) -> Settling:
        return z._replace(state=blocks[0])


class Linearised(NamedTuple):
    """A rest point, and the error e that is propagated back from its output."""

    drive: PyTree[Any]
    state: PyTree[Float[Array, "..."]]
    output_error: Float[Array, "*outputs"]


class AdjointProblem(AbstractProblem):
    """∂_φfᵀa + ∂_φhᵀe = 0 at a state, by a ← a + ∂_φfᵀa + ∂_φhᵀe.

    The solution is the control of dynamic inversion for u = e (arXiv 2207.01332, equation 8), and
    minus the adjoint of recurrent backpropagation for e = ∇_yL.
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
