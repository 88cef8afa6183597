"""The word `recurrent-backpropagation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractFreeRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class RecurrentBackpropagation(AbstractFreeRule):
    """Backpropagation at the free equilibrium, by the implicit function theorem."""

    word: ClassVar[str] = "recurrent-backpropagation"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import RecurrentBackpropagation

        return RecurrentBackpropagation(
            loss=config.data.loss(),
            tolerance=self.allowance(),
            solver=self.solver(),
            unsolved=self.policy(),
        )
