"""The word `jacobian-free-backpropagation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractFreeRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class JacobianFreeBackpropagation(AbstractFreeRule):
    """Backpropagation through one step at the free equilibrium."""

    word: ClassVar[str] = "jacobian-free-backpropagation"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import jacobian_free_backpropagation

        return jacobian_free_backpropagation(
            loss=config.data.loss(),
            tolerance=self.allowance(),
            solver=self.solver(),
            unsolved=self.policy(),
        )
