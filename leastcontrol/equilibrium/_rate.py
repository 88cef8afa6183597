"""The rate of f, which converts ‖f‖ into an error of the state if the unit of time is unknown.

An error e of the state gives f ≈ ∂_φf e, so ‖f‖ = r‖e‖ with the rate r = ‖∂_φf v‖ / ‖v‖ for v = e.
`Tolerance` explains its use. The rate is measured along an available direction v: the last step of
an iteration (`Last`) or the control that is pulled back (`rate_of_pullback`). For a system with
`unit_rate` it is 1 and costs nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..systems import AbstractSystem
from ._trees import norm, tree_scale, tree_subtract

Rate = float | Float[Array, ""]

# Error of an iterate whose rate is not known yet; finite, so that the iteration continues.
UNKNOWN = 1e6


def rate_along(direction: PyTree[Array], change: PyTree[Array]) -> Float[Array, ""]:
    """Computes ‖∂_φf v‖ / ‖v‖; 0 if v is zero, so that nothing is tolerated."""
    size = norm(direction)
    # Scaled first, because the squares of small changes underflow.
    scaled = tree_scale(1 / jnp.where(size > 0, size, 1), change)
    return jnp.where(size > 0, norm(scaled), 0)


def rate_of_pullback(
    system: AbstractSystem,
    pull: Callable[[PyTree[Array], Array], PyTree[Array]],
    control: PyTree[Array],
    output_control: Float[Array, " outputs"],
) -> Rate:
    """Computes the rate of f along a control, ‖∂_φfᵀψ‖ / ‖ψ‖."""
    if system.unit_rate:
        return 1.0
    return rate_along(control, pull(control, jnp.zeros_like(output_control)))


class Last(NamedTuple):
    """The previous state, and f at that state."""

    state: PyTree[Array]
    field: PyTree[Array]

    @staticmethod
    def first(system: AbstractSystem, state: PyTree[Array]) -> "Last | None":
        """Makes the record of a first iterate; `None` if no rate is measured."""
        return None if system.unit_rate else Last(state, jax.tree.map(jnp.zeros_like, state))

    def rate(
        self, state: PyTree[Array], field: PyTree[Array]
    ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Computes the rate of f along the last step, and whether that step was nonzero."""
        step = tree_subtract(state, self.state)
        known = norm(step) > 0
        return jnp.where(known, rate_along(step, tree_subtract(field, self.field)), 1), known


def while_known(error: Float[Array, ""], known: Bool[Array, ""]) -> Float[Array, ""]:
    """Raises the error of an iterate to `UNKNOWN` until its rate is known."""
    return jnp.maximum(error, jnp.where(known | (error == 0), 0, UNKNOWN))
