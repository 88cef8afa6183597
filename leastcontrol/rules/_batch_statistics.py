"""Training with batch norm, under any rule."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..systems import AbstractBatchNormalised, AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit, refuse_weights


class WithBatchStatistics(AbstractRuleAround):
    """Applies a rule to a system whose encoder is normalised by the statistics of the batch.

    The rule treats the statistics as constants of the system, so each solve sees one sample only.
    The chain rule then takes its gradient in the statistics back to the weights that they depend
    on. The result is the gradient of training-time batch norm. It is zero in the statistics
    themselves, which are measured, not learned. A system without batch norm is left as it is.

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
        refuse_weights(batch, "batch norm", "its statistics are those of the whole batch")
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def normalised(learned: PyTree) -> PyTree:
            system = eqx.combine(learned, fixed).with_batch_statistics(batch.inputs)
            return eqx.filter(system, eqx.is_inexact_array)

        arrays, pull = jax.vjp(normalised, learned)
        credit = self.rule(eqx.combine(arrays, fixed), feedback, batch, key=key)
        (gradient,) = pull(credit.gradient)
        # A batch in which no sample counts may have statistics that are not finite.
        gradient = jax.tree.map(lambda leaf: jnp.where(credit.count > 0, leaf, 0), gradient)
        gradient = system.without_statistics(gradient)
        return eqx.tree_at(lambda credit: credit.gradient, credit, gradient)
