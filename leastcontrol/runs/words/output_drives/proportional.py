"""The word `proportional`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._drive import AbstractOutputDriveWord

if TYPE_CHECKING:
    from ....devices import AbstractOutputDrive


@dataclasses.dataclass(frozen=True)
class Proportional(AbstractOutputDriveWord):
    """The control answers the free output, in one settle."""

    word: ClassVar[str] = "proportional"

    def build(self) -> "AbstractOutputDrive":
        """Makes the output controller."""
        from ....devices import Proportional

        return Proportional(self.gain)
