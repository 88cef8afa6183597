"""A rule whose steps depend less on the size of the gradient."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..systems import AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit


class Powered(AbstractRuleAround):
    """Replaces every number g of another rule's gradient by sign(g) |g|^p.

    **Arguments:** `rule`, the other rule; `power`, the exponent p, above 0 and at most 1.

    **Raises:** `ValueError` for a power out of range.
    """

    rule: AbstractRule
    power: float = eqx.field(static=True)

    def __check_init__(self):
        if not 0 < self.power <= 1:
            raise ValueError(
                f"`power` is {self.power}, but it is above 0 and at most 1: write power=0.5."
            )

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        credit = self.rule(system, feedback, batch, key=key)
        gradient = jax.tree.map(lambda g: jnp.sign(g) * jnp.abs(g) ** self.power, credit.gradient)
        return dataclasses.replace(credit, gradient=gradient)
