"""The word `leaky-integral`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...options import NON_NEGATIVE, at_least, option
from ._drive import AbstractOutputDriveWord

if TYPE_CHECKING:
    from ....devices import AbstractOutputDrive


@dataclasses.dataclass(frozen=True)
class LeakyIntegral(AbstractOutputDriveWord):
    """The control goes on until the output is near its target, in several settles."""

    word: ClassVar[str] = "leaky-integral"

    output_leak: float = option(0.1, "Leak of the output controller", range=NON_NEGATIVE)
    controlled_settles: int = option(3, "Settles under control in a step", range=at_least(1))

    def build(self) -> "AbstractOutputDrive":
        """Makes the output controller."""
        from ....devices import LeakyIntegral

        return LeakyIntegral(self.gain, self.output_leak, self.controlled_settles)
