"""The first attempt at a rule's solves, by itself.

`Automatic` solves most batches without its safeguard, which is most of what has to be compiled. So
training compiles the step without it first, and the other when a batch asks for it.
"""

from typing import Any

import jax

from ..controllers import Automatic
from ._policy import AbstractUnsolved, Drop
from ._rule import AbstractRule


def without_safeguard(rule: AbstractRule) -> AbstractRule | None:
    """Returns a rule whose credit is the given one's wherever its own solution is solved.

    Its controllers are quick and leave samples unsolved that the given rule's would go on with. A
    rule that has no such controller has no such rule.
    """

    def is_replaced(node: Any) -> bool:
        return isinstance(node, Automatic | AbstractUnsolved)

    def replaced(node: Any) -> Any:
        if isinstance(node, Automatic):
            return node.quick
        # It must not be an error that the safeguard would have mended.
        return Drop() if isinstance(node, AbstractUnsolved) else node

    if not any(isinstance(node, Automatic) for node in jax.tree.leaves(rule, is_leaf=is_replaced)):
        return None
    return jax.tree.map(replaced, rule, is_leaf=is_replaced)
