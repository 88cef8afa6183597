"""The rate of f, which converts ‖f‖ into an error of the state if the unit of time is unknown.

An error e of the state gives f ≈ ∂_φf e, so ‖f‖ = r‖e‖ with the rate r = ‖∂_φf v‖ / ‖v‖ for v = e.
`Tolerance` explains its use. The rate is measured along an available direction v: the last step of
an iteration (`AbstractLast`) or the control that is pulled back (`rate_of_pullback`). For a system
with `unit_rate` it is 1 and costs nothing.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..systems import AbstractSystem
from ._trees import norm, norms, tree_scale, tree_subtract

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


class Measured(NamedTuple):
    """The norms of f and of the state, the rate of f, and whether that rate is known."""

    residual: Float[Array, ""]
    state_norm: Float[Array, ""]
    rate: Float[Array, ""]
    known: Bool[Array, ""]


class AbstractLast(eqx.Module):
    """What is kept of an iterate to measure the rate of f along the step to the next one."""

    @abc.abstractmethod
    def measured(self, state: PyTree[Array], field: PyTree[Array]) -> Measured:
        """Measures an iterate, and the rate of f along the last step unless that step is zero."""

    @abc.abstractmethod
    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "AbstractLast":
        """Makes the record of an iterate whose residual is ‖f‖."""


class Last(AbstractLast):
    """The previous state, and f at that state, for any step between them."""

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

    def measured(self, state: PyTree[Array], field: PyTree[Array]) -> Measured:
        return Measured(norm(field), norm(state), *self.rate(state, field))

    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "Last":
        del residual
        return Last(state, field)


class LastOfUnitStep(AbstractLast):
    """f at the previous state, which is the step from it, and its norm.

    It costs less than `Last`, because no state is kept and no step is measured.
    """

    field: PyTree[Array]
    size: Float[Array, "*batch"]

    @staticmethod
    def first(system: AbstractSystem, state: PyTree[Array]) -> "LastOfUnitStep | None":
        """Makes the record of a first iterate; `None` if no rate is measured."""
        if system.unit_rate:
            return None
        none = jax.tree.map(jnp.zeros_like, state)
        return LastOfUnitStep(none, norm(none))

    def measured(self, state: PyTree[Array], field: PyTree[Array]) -> Measured:
        known = self.size > 0
        # Scaled first, because the squares of small changes underflow.
        scaled = tree_scale(1 / jnp.where(known, self.size, 1), tree_subtract(field, self.field))
        residual, state_norm, rate = norms(field, state, scaled)
        return Measured(residual, state_norm, jnp.where(known, rate, 1), known)

    def after(
        self, state: PyTree[Array], field: PyTree[Array], residual: Float[Array, ""]
    ) -> "LastOfUnitStep":
        del state
        return LastOfUnitStep(field, residual)


def while_known(error: Float[Array, ""], known: Bool[Array, ""]) -> Float[Array, ""]:
    """Raises the error of an iterate to `UNKNOWN` until its rate is known."""
    return jnp.maximum(error, jnp.where(known | (error == 0), 0, UNKNOWN))
