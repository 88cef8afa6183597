"""Batch norm in training, around any rule."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..systems import AbstractBatchNormalised, AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit


class WithBatchStatistics(AbstractRuleAround):
    """A rule on a system whose encoder is normalised by the batch's own statistics.

    The rule sees them as constants of the system, so that each solve is one sample's; its gradient
    in them is then taken back to the weights that they depend on, by the chain rule. What comes out
    is the gradient of training-time batch norm, zero in the statistics themselves, which are
    measured and not learned. A system without batch norm is left as it is.

    **Arguments:** `rule`, any rule.
    """

    rule: AbstractRule

    def __init__(self, rule: AbstractRule):
        self.rule = rule

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        if not isinstance(system, AbstractBatchNormalised):
            return self.rule(system, feedback, batch, key=key)
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def normalised(learned: PyTree) -> PyTree:
            system = eqx.combine(learned, fixed).with_batch_statistics(batch.inputs)
            return eqx.filter(system, eqx.is_inexact_array)

        own, pull = jax.vjp(normalised, learned)
        credit = self.rule(eqx.combine(own, fixed), feedback, batch, key=key)
        (gradient,) = pull(credit.gradient)
        # A batch in which no sample counts may have statistics that are not finite.
        gradient = jax.tree.map(lambda leaf: jnp.where(credit.count > 0, leaf, 0), gradient)
        gradient = system.without_statistics(gradient)
        return eqx.tree_at(lambda credit: credit.gradient, credit, gradient)
