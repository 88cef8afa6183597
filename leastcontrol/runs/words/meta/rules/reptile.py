"""The word `reptile`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractDescentRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class Reptile(AbstractDescentRule):
    """The way that the adaptation went."""

    word: ClassVar[str] = "reptile"

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import Reptile

        return Reptile(self.adaptation())
