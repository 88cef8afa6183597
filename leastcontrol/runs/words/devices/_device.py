"""What the words of `--device` have in common."""

import abc
import dataclasses
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from ...configuration import AbstractWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractTwin, Memory


@dataclasses.dataclass(frozen=True)
class AbstractDeviceWord(AbstractWord):
    """A device that is trained.

    * `mismatch_is_known`: whether a twin can know the mismatch of the device.
    """

    mismatch_is_known: ClassVar[bool] = False

    @abc.abstractmethod
    def opened(
        self, inputs: int, outputs: int, seed: int
    ) -> "AbstractContextManager[AbstractDevice]":
        """Makes the device for samples of some inputs and classes, and closes it in the end.

        **Raises:** `devices.DeviceError` if it cannot be reached.
        """

    @abc.abstractmethod
    def twin(self, device: Any, known: float) -> "AbstractTwin":
        """Makes a model of the device.

        **Arguments:** `known`, the part of the mismatch that it knows, 0 unless that is possible.

        **Raises:** `devices.DeviceError` for a device whose description is no network of layers.
        """

    @abc.abstractmethod
    def memory(self, device: Any) -> "Memory":
        """Collects what the device needs to go on as it would have; nothing, of a real one."""

    @abc.abstractmethod
    def remember(self, device: Any, memory: "Memory") -> None:
        """Makes a device go on from a memory."""


@dataclasses.dataclass(frozen=True)
class AbstractPhysicalDeviceWord(AbstractDeviceWord):
    """A device of which nothing is known that it does not tell."""

    def twin(self, device: Any, known: float) -> "AbstractTwin":
        """Makes the network that the description stands for."""
        from ....devices import NetworkTwin

        del known
        return NetworkTwin(device.describe())

    def memory(self, device: Any) -> "Memory":
        """Collects nothing: the noise of a device is not repeated."""
        del device
        return {}

    def remember(self, device: Any, memory: "Memory") -> None:
        """Does nothing, because nothing was collected."""
        del device, memory
