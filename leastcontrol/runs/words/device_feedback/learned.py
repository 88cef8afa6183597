"""The word `learned`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._feedback import AbstractDeviceFeedbackWord

if TYPE_CHECKING:
    from ....devices import AbstractDeviceFeedback


@dataclasses.dataclass(frozen=True)
class Learned(AbstractDeviceFeedbackWord):
    """Feedback weights that follow the measured responses to perturbations."""

    word: ClassVar[str] = "learned"

    def build(self, seed: int) -> "AbstractDeviceFeedback":
        """Makes the feedback, which needs no seed."""
        from ....devices import LearnedFeedback

        return LearnedFeedback()
