"""The word `none`."""

import dataclasses
from typing import Any, ClassVar

from ._learning import AbstractFeedbackLearningWord


@dataclasses.dataclass(frozen=True)
class NoFeedbackLearning(AbstractFeedbackLearningWord):
    """Feedback weights that stay as they are."""

    word: ClassVar[str] = "none"

    def build(self, rule: Any) -> None:
        """Returns `None`."""
