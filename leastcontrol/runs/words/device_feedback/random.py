"""The word `random`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._feedback import AbstractDeviceFeedbackWord

if TYPE_CHECKING:
    from ....devices import AbstractDeviceFeedback


@dataclasses.dataclass(frozen=True)
class Random(AbstractDeviceFeedbackWord):
    """Feedback weights that stay as they were drawn."""

    word: ClassVar[str] = "random"

    def build(self, seed: int) -> "AbstractDeviceFeedback":
        """Draws the feedback with the seed."""
        from ....devices import RandomFeedback

        return RandomFeedback(seed)
