"""The rate of f, which converts ‖f‖ into an error of the state if the unit of time is unknown.

An error e of the state gives f ≈ ∂_φf e, so ‖f‖ = r‖e‖ with the rate r = ‖∂_φf v‖ / ‖v‖ for v = e.
`Tolerance` explains its use. The rate is measured along an available direction v: the last step of
an iteration (`AbstractLast`) or the control that is pulled back (`rate_of_pullback`). For a system
with `unit_rate` it is 1 and costs nothing.
"""

import abc
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..systems import AbstractSystem
from ._trees import norm, tree_scale, tree_subtract, tree_where

Rate = float | Float[Array, ""]

# Error of an iterate whose rate is not known yet; finite, so that the iteration continues.
UNKNOWN = 1e6


def rate_along(direction: PyTree[Array], change: PyTree[Array]) -> Float[Array, ""]:
    """Computes ‖∂_φf v‖ / ‖v‖; 0 if v is zero, so that nothing is tolerated."""
    size = norm(direction)
    return jnp.where(size > 0, norm(_in_proportion(change, size)), 0)


def rate_of_pullback(
    system: AbstractSystem,
    pull: Callable[[PyTree[Array], Array], PyTree[Array]],
    directions: Sequence[PyTree[Array]],
    output_control: Float[Array, " outputs"],
) -> Rate:
    """Computes the rate of f along a control, ‖∂_φfᵀψ‖ / ‖ψ‖.

    **Arguments:**

    * `directions`: the control, and what stands in for a control of zero, for example at the free
      equilibrium. The first of them that is not zero is used.
    """
    if system.unit_rate:
        return 1.0
    *others, along = directions
    for direction in reversed(others):
        along = tree_where(norm(direction) > 0, direction, along)
    return rate_along(along, pull(along, jnp.zeros_like(output_control)))


class AbstractLast(eqx.Module):
    """What is kept of an iterate to measure the rate of f along the step to the next one."""

    @abc.abstractmethod
    def along(
        self, state: PyTree[Array], field: PyTree[Array]
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        """Computes ∂_φf v / ‖v‖, whose norm is the rate of f, for the last step v.

        Returns it with whether that step was nonzero; without one the rate is not known.
        """

    @abc.abstractmethod
    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "AbstractLast":
        """Makes the record of an iterate whose residual, with all that is added to f, is given."""


class Last(AbstractLast):
    """The previous state, and f at that state, for any step between them."""

    state: PyTree[Array]
    field: PyTree[Array]

    def along(
        self, state: PyTree[Array], field: PyTree[Array]
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        size = norm(tree_subtract(state, self.state))
        return _in_proportion(tree_subtract(field, self.field), size), size > 0

    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "Last":
        del residual
        return Last(state, field)


class LastOfUnitStep(AbstractLast):
    """f at the previous state, and the length of the step from it, which was its residual.

    It costs less than `Last`, because no state is kept and no step is measured.
    """

    field: PyTree[Array]
    size: Float[Array, "*batch"]

    def along(
        self, state: PyTree[Array], field: PyTree[Array]
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        del state
        return _in_proportion(tree_subtract(field, self.field), self.size), self.size > 0

    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "LastOfUnitStep":
        del state
        return LastOfUnitStep(field, residual)


def first_record(
    system: AbstractSystem, state: PyTree[Array], *, plain: bool
) -> AbstractLast | None:
    """Makes the record of a first iterate; `None` if no rate is measured.

    **Arguments:** `plain`, whether every step is as long as its residual.
    """
    if system.unit_rate:
        return None
    none = jax.tree.map(jnp.zeros_like, state)
    return LastOfUnitStep(none, norm(none)) if plain else Last(state, none)


def _in_proportion(change: PyTree[Array], size: Float[Array, ""]) -> PyTree[Array]:
    # Scaled before its norm is taken, because the squares of small changes underflow.
    return tree_scale(1 / jnp.where(size > 0, size, 1), change)


def while_known(error: Float[Array, ""], known: Bool[Array, ""]) -> Float[Array, ""]:
    """Raises the error of an iterate to `UNKNOWN` until its rate is known."""
    return jnp.maximum(error, jnp.where(known | (error == 0), 0, UNKNOWN))
