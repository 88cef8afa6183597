"""The word `recurrent-backpropagation`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._rule import AbstractRepresentRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class RecurrentBackpropagation(AbstractRepresentRule):
    """Backpropagation at the free equilibrium, by the implicit function theorem."""

    word: ClassVar[str] = "recurrent-backpropagation"

    def build(self) -> "AbstractRule":
        """Makes the rule."""
        from ....equilibrium import FixedPoint
        from ....losses import SquaredError
        from ....rules import RecurrentBackpropagation

        solver = FixedPoint(max_steps=self.max_steps)
        return RecurrentBackpropagation(SquaredError(), self.allowance(), solver, self.policy())
