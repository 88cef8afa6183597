"""The word `powered-backpropagation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import Range, option
from ._rule import AbstractRuleWord

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class PoweredBackpropagation(AbstractRuleWord):
    """Backpropagation whose steps depend less on the size of the gradient."""

    word: ClassVar[str] = "powered-backpropagation"

    power: float = option(0.5, "Exponent of the gradient's numbers", range=Range(0, 1, above=True))

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import Backpropagation, Powered

        return Powered(Backpropagation(loss=config.data.loss()), self.power)
