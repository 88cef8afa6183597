"""Rules without the safeguard of their controllers.

`Automatic` solves most batches without its safeguard, but the safeguard takes most of the time of
compilation. Training therefore compiles the step without it first, and the step with it only when a
batch needs it. `Safeguarded` does so for calls outside of training.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool

from ..controllers import Automatic
from ._policy import AbstractUnsolved, Drop
from ._rule import AbstractRule

Result = TypeVar("Result")


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


class Safeguarded:
    """A rule for batches of one signature, which compiles its safeguard when one batch needs it.

    From that batch on it calls the whole rule, which costs no more for a batch that does without.
    """

    def __init__(self, rule: AbstractRule):
        self._rule = rule
        self._quick = without_safeguard(rule)

    def __call__(self, compute: Callable[[AbstractRule], tuple[Result, Bool[Array, ""]]]) -> Result:
        """Computes a result by the rule.

        **Arguments:** `compute(rule)`, compiled for each rule that it is called with, returns the
        result and whether all samples were solved.
        """
        # Inside of a program that is being compiled, every operation gives a tracer.
        if self._quick is not None and not isinstance(jnp.zeros(()), Tracer):
            result, converged = compute(self._quick)
            # Under `jax.vmap` it has no value either.
            if not isinstance(converged, Tracer):
                if converged:
                    return result
                self._quick = None
        return compute(self._rule)[0]
