"""The word `first-order-maml`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractDescentRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class FirstOrderMAML(AbstractDescentRule):
    """The gradient at the adapted weights."""

    word: ClassVar[str] = "first-order-maml"

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import FirstOrderMAML

        return FirstOrderMAML(self.adaptation())
