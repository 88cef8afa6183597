"""Rules whose strength of control is set from outside, step by step.

A training that asks for a share of the loss measures the share that is removed and adjusts κ, the
relative leak of the rule.
"""

import equinox as eqx
from jaxtyping import Array, Float

from ..controllers import RelativeLeak
from ._nodes import replaced_nodes
from ._rule import AbstractRule


def with_kappa(rule: AbstractRule, kappa: float | Float[Array, ""]) -> AbstractRule:
    """Replaces κ in every relative leak of a rule.

    **Raises:** `ValueError` for a rule without a relative leak.
    """
    return replaced_nodes(
        rule,
        RelativeLeak,
        lambda control: eqx.tree_at(lambda control: control.kappa, control, kappa),
        missing=f"{type(rule).__name__} has no relative leak, so no share of the loss can be asked "
        "of it: write LeastControl(controller, RelativeLeak(1.0)).",
    )
