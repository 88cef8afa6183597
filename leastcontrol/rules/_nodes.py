"""Parts of a rule by their kind, wherever in the rule they are."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from ._rule import AbstractRule

T = TypeVar("T")


def replaced_nodes(
    rule: AbstractRule, kind: type[T], replace: Callable[[T], T], *, missing: str | None = None
) -> AbstractRule:
    """Replaces every part of a kind.

    **Arguments:** `missing`, the message of the error for a rule without such a part, which is
    returned as it is if there is none.

    **Raises:** `ValueError` with that message.
    """

    def is_kind(node: Any) -> bool:
        return isinstance(node, kind)

    if missing is not None and not any(map(is_kind, jax.tree.leaves(rule, is_leaf=is_kind))):
        raise ValueError(missing)
    return jax.tree.map(
        lambda node: replace(node) if is_kind(node) else node, rule, is_leaf=is_kind
    )
