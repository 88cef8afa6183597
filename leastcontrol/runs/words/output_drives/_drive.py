"""What the words of a device's `--output-control` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING

from ...configuration import AbstractWord
from ...options import POSITIVE, option

if TYPE_CHECKING:
    from ....devices import AbstractOutputDrive


@dataclasses.dataclass(frozen=True)
class AbstractOutputDriveWord(AbstractWord):
    """The controller on the host that drives the measured output."""

    gain: float = option(0.1, "Gain of the output controller", range=POSITIVE)

    @abc.abstractmethod
    def build(self) -> "AbstractOutputDrive":
        """Makes the output controller."""
