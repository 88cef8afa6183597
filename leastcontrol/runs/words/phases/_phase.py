"""What the words of `--phase` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...configuration import AbstractWord

if TYPE_CHECKING:
    from ....feedback_control import AbstractPhase


@dataclasses.dataclass(frozen=True)
class AbstractPhaseWord(AbstractWord):
    """Deep feedback control's way to the controlled state.

    * `simulated`: whether it simulates the dynamics.
    """

    simulated: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, leak: float) -> "AbstractPhase":
        """Makes the phase for a leak of the controller."""
