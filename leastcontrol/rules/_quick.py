"""Rules without the safeguard of their controllers.

`Automatic` solves most batches without its safeguard, but the safeguard takes most of the time of
compilation. Training therefore compiles the step without it first, and the step with it only when a
batch needs it.
"""

from typing import Any

import jax

from ..controllers import Automatic
from ._policy import AbstractUnsolved, Drop
from ._rule import AbstractRule


def without_safeguard(rule: AbstractRule) -> AbstractRule | None:
    """Replaces every `Automatic` controller of a rule by its quick part.

    The new rule leaves a sample unsolved where the given rule would go on with its safeguard. If
    all samples are solved, both rules compute the same credit. Returns `None` if the rule has no
    `Automatic` controller.
    """

    def is_replaced(node: Any) -> bool:
        return isinstance(node, Automatic | AbstractUnsolved)

    def replaced(node: Any) -> Any:
        if isinstance(node, Automatic):
            return node.quick
        # A sample that the safeguard would solve must not raise an error before it is tried.
        return Drop() if isinstance(node, AbstractUnsolved) else node

    if not any(isinstance(node, Automatic) for node in jax.tree.leaves(rule, is_leaf=is_replaced)):
        return None
    return jax.tree.map(replaced, rule, is_leaf=is_replaced)
