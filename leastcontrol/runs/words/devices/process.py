"""The word `process`."""

import dataclasses
import shlex
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import POSITIVE, ConfigError, option
from ._device import AbstractPhysicalDeviceWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice


@dataclasses.dataclass(frozen=True)
class Process(AbstractPhysicalDeviceWord):
    """A program that speaks the protocol over a pipe; process:COMMAND for short."""

    word: ClassVar[str] = "process"

    device_command: str | None = option(
        None, "Program and arguments that serve the device; required"
    )
    device_timeout: float = option(
        60.0, "Seconds that an answer is waited for; then it is started again", range=POSITIVE
    )

    def check(self, config: Any) -> None:
        """Checks that there is a command, which can be split into words."""
        try:
            words = shlex.split(self.device_command or "")
        except ValueError as error:
            raise ConfigError(
                f"--device-command is {self.device_command!r}, but its quotes do not match: write "
                "--device 'process:python server.py'."
            ) from error
        if not words:
            raise ConfigError(
                "--device process does not say which program serves the device: write --device "
                "'process:python server.py'."
            )

    def opened(
        self, inputs: int, outputs: int, seed: int
    ) -> "AbstractContextManager[AbstractDevice]":
        """Starts the program."""
        from ....devices import ProcessDevice

        assert self.device_command is not None
        words = shlex.split(self.device_command)
        return closing(ProcessDevice(words, timeout=self.device_timeout))
