"""What the words of a device's `--feedback` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING

from ...configuration import AbstractWord

if TYPE_CHECKING:
    from ....devices import AbstractDeviceFeedback


@dataclasses.dataclass(frozen=True)
class AbstractDeviceFeedbackWord(AbstractWord):
    """How the control of the output reaches the neurons of a device."""

    @abc.abstractmethod
    def build(self, seed: int) -> "AbstractDeviceFeedback":
        """Makes the feedback."""
