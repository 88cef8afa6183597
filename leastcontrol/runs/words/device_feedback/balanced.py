"""The word `balanced`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._feedback import AbstractDeviceFeedbackWord

if TYPE_CHECKING:
    from ....devices import AbstractDeviceFeedback


@dataclasses.dataclass(frozen=True)
class Balanced(AbstractDeviceFeedbackWord):
    """Learned feedback weights, less the measured gains of the control lines."""

    word: ClassVar[str] = "balanced"

    def build(self, seed: int) -> "AbstractDeviceFeedback":
        """Makes the feedback, which needs no seed."""
        from ....devices import BalancedFeedback

        return BalancedFeedback()
