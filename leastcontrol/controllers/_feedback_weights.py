"""What is asked of feedback weights that are handed to a controller or a rule."""

from typing import Any

import jax
from jaxtyping import PyTree


def check_feedback(feedback: PyTree[Any], expected: PyTree[Any]) -> None:
    """Refuses feedback weights of another structure or other shapes than are expected.

    **Raises:** `ValueError`.
    """
    if feedback is None:
        raise ValueError(
            "There are no feedback weights, and this feedback has some: write "
            "feedback = rule.init(system, key=key) and rule(system, feedback, batch, key=key)."
        )
    given, wanted = (
        (jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)])
        for tree in (feedback, expected)
    )
    if given != wanted:
        raise ValueError(
            f"The feedback weights have the shapes {given[1]}, but the system needs {wanted[1]}: "
            "give what rule.init(system, key=key) returned for this system."
        )
