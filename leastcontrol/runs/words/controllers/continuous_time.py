"""The word `continuous-time`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class ContinuousTime(AbstractControllerWord):
    """The controlled dynamics in continuous time."""

    word: ClassVar[str] = "continuous-time"
    iterates: ClassVar[bool] = False

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import ContinuousTime

        if self.max_steps is None:
            return ContinuousTime(self.allowance())
        return ContinuousTime(self.allowance(), max_steps=self.max_steps)
