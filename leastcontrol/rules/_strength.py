"""Rules whose strength of control is set from outside, step by step.

A training that asks for a share of the loss measures the share that is removed and adjusts κ, the
relative leak of the rule.
"""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ..controllers import RelativeLeak
from ._rule import AbstractRule


def with_kappa(rule: AbstractRule, kappa: float | Float[Array, ""]) -> AbstractRule:
    """Replaces κ in every relative leak of a rule.

    **Raises:** `ValueError` for a rule without a relative leak.
    """

    def is_relative(node: Any) -> bool:
        return isinstance(node, RelativeLeak)

    def replaced(node: Any) -> Any:
        if not is_relative(node):
            return node
        return eqx.tree_at(lambda control: control.kappa, node, kappa)

    if not any(map(is_relative, jax.tree.leaves(rule, is_leaf=is_relative))):
        raise ValueError(
            f"{type(rule).__name__} has no relative leak, so no share of the loss can be asked of "
            "it: write LeastControl(controller, RelativeLeak(1.0))."
        )
    return jax.tree.map(replaced, rule, is_leaf=is_relative)
