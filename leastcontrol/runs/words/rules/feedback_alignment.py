"""The word `feedback-alignment`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractFreeRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class FeedbackAlignment(AbstractFreeRule):
    """Backpropagation of errors through fixed random weights."""

    word: ClassVar[str] = "feedback-alignment"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import FeedbackAlignment

        return FeedbackAlignment(config.data.loss(), self.allowance(), self.solver(), self.policy())
