"""The word `least-control`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...options import NON_NEGATIVE, option
from ._rule import AbstractRepresentRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractRepresentRule):
    """The gradient of the least control, by dynamic inversion."""

    word: ClassVar[str] = "least-control"

    alpha: float = option(
        0.0, "Leak α of the output control, for the loss of one pixel", range=NON_NEGATIVE
    )

    def build(self) -> "AbstractRule":
        """Makes the rule."""
        from ....controllers import DynamicInversion, LeakyIntegral
        from ....equilibrium import Budget
        from ....losses import SquaredError
        from ....rules import LeastControl

        return LeastControl(
            # Not plain steps, because units that rest on kinks need mixed ones.
            DynamicInversion(self.allowance(), Budget(self.max_steps)),
            LeakyIntegral(self.alpha),
            loss=SquaredError(),
            unsolved=self.policy(),
        )
