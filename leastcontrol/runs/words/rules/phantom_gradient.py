"""The word `phantom-gradient`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractFreeRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class PhantomGradient(AbstractFreeRule):
    """Backpropagation through a few damped steps at the free equilibrium."""

    word: ClassVar[str] = "phantom-gradient"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import PhantomGradient

        return PhantomGradient(
            loss=config.data.loss(),
            tolerance=self.allowance(),
            solver=self.solver(),
            unsolved=self.policy(),
        )
