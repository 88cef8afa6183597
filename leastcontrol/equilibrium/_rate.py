"""How fast f changes with the state, where its unit of time is not known.

f ≈ ∂_φf e for an error e of the state, so that ‖f‖ says how large e is once the rate
r = ‖∂_φf v‖ / ‖v‖ is known. `Tolerance` says what it is used for. It is measured along whatever v
is at hand: the last step of an iteration (`Last`), or what is pulled back (`rate_of_pullback`). For
a system of `unit_rate` it is 1, and nothing is computed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..systems import AbstractSystem
from ._trees import norm, tree_scale, tree_subtract

Rate = float | Float[Array, ""]

# The error of an iterate whose rate is not known yet: finite, for the sample has to go on.
UNKNOWN = 1e6


def rate_along(direction: PyTree[Array], change: PyTree[Array]) -> Float[Array, ""]:
    """Returns ‖∂_φf v‖ / ‖v‖; 0, which allows nothing, where v is zero and tells nothing."""
    size = norm(direction)
    # Scaled first: the squares of what a slow f makes of v are below the smallest number.
    scaled = tree_scale(1 / jnp.where(size > 0, size, 1), change)
    return jnp.where(size > 0, norm(scaled), 0)


def rate_of_pullback(
    system: AbstractSystem,
    pull: Callable[[PyTree[Array], Array], PyTree[Array]],
    control: PyTree[Array],
    output_control: Float[Array, " outputs"],
) -> Rate:
    """Returns the rate of f along a control, ‖∂_φfᵀψ‖ / ‖ψ‖."""
    if system.unit_rate:
        return 1.0
    return rate_along(control, pull(control, jnp.zeros_like(output_control)))


class Last(NamedTuple):
    """The state of the last iterate, and f there."""

    state: PyTree[Array]
    field: PyTree[Array]

    @staticmethod
    def first(system: AbstractSystem, state: PyTree[Array]) -> "Last | None":
        """Returns that of a first iterate, which took no step; `None` if no rate is measured."""
        return None if system.unit_rate else Last(state, jax.tree.map(jnp.zeros_like, state))

    def rate(
        self, state: PyTree[Array], field: PyTree[Array]
    ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Returns the rate of f along the step from here, and whether there was one."""
        step = tree_subtract(state, self.state)
        known = norm(step) > 0
        return jnp.where(known, rate_along(step, tree_subtract(field, self.field)), 1), known


def while_known(error: Float[Array, ""], known: Bool[Array, ""]) -> Float[Array, ""]:
    """Returns an iterate's error, too large to end with until its rate is known."""
    return jnp.maximum(error, jnp.where(known | (error == 0), 0, UNKNOWN))
