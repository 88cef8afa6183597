"""Equilibria without an output controller.

`FreeProblem` solves f(φ) + ψ = 0 for a given control ψ, which is zero for the free equilibrium. It
iterates with a unit step, which for f = −φ + g(φ) is φ′ = g(φ). The linear equations of implicit
differentiation are free equilibria too, of the systems in `_linear`.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem
from ._certificate import Tolerance
from ._driver import AbstractProblem
from ._rate import AbstractLast, first_record, while_known
from ._trees import norm, norms, tree_add


class Controlled(NamedTuple):
    """A drive, and a constant control that is added to f."""

    drive: PyTree[Any]
    control: PyTree[Float[Array, "..."]] | None


class Settling(NamedTuple):
    """An iterate: a state, the previous one if the rate of f is measured, and ‖f + ψ‖."""

    state: PyTree[Array]
    last: AbstractLast | None
    # Infinite until the iterate is measured.
    residual: Float[Array, "*batch"]


class FreeProblem(AbstractProblem):
    """f(φ) + ψ = 0 for a given ψ, by φ ← φ + f(φ) + ψ.

    **Arguments:**

    * `system`, `tolerance`: f, and the tolerance of the residual.
    * `plain`: whether no iterates are mixed, so that the last step is known from the residual.
    """

    system: AbstractSystem
    tolerance: Tolerance
    plain: bool = eqx.field(static=True, default=False)

    def initial(self, sample: Controlled) -> Settling:
        return self.start_from(self.system.initial_state(sample.drive))

    def start_from(self, state: PyTree[Array]) -> Settling:
        """Makes the first iterate from a state."""
        unknown = jnp.full_like(norm(state), jnp.inf)
        return Settling(state, first_record(self.system, state, plain=self.plain), unknown)

    def iterate(
        self, sample: Controlled, z: Settling
    ) -> tuple[Settling, Settling, Float[Array, ""]]:
        change = self.system.vector_field(z.state, sample.drive)
        if sample.control is not None:
            change = tree_add(change, sample.control)
        if z.last is None:
            residual, size = norms(change, z.state)
            known, last = None, None
        else:
            along, known = z.last.along(z.state, change)
            residual, state_norm, rate = norms(change, z.state, along)
            size = jnp.where(known, rate, 1) * state_norm
            last = z.last.after(z.state, change, residual)
        # The rounding floor scales with the state, and at the origin with the change.
        error = self.tolerance.free_error(residual, jnp.maximum(size, residual))
        error = error if known is None else while_known(error, known)
        onwards = Settling(tree_add(z.state, change), last, z.residual)
        return onwards, z._replace(residual=residual), error

    def mixed(self, z: Settling) -> tuple[PyTree[Array], ...]:
        return (z.state,)

    def with_mixed(self, z: Settling, blocks: tuple[PyTree[Array], ...]) -> Settling:
        return z._replace(state=blocks[0])
