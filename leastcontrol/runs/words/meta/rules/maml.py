"""The word `maml`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractDescentRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class MAML(AbstractDescentRule):
    """Backpropagation through the adaptation."""

    word: ClassVar[str] = "maml"

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import MAML

        return MAML(self.adaptation())
