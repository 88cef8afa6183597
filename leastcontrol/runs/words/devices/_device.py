"""What the words of `--device` have in common."""

import abc
import dataclasses
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ...configuration import AbstractWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice


@dataclasses.dataclass(frozen=True)
class AbstractDeviceWord(AbstractWord):
    """A device that is trained."""

    @abc.abstractmethod
    def opened(
        self, inputs: int, outputs: int, seed: int
    ) -> "AbstractContextManager[AbstractDevice]":
        """Makes the device for samples of some inputs and classes, and closes it in the end.

        **Raises:** `devices.DeviceError` if it cannot be reached.
        """
