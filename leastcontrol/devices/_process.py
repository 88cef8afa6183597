"""A device behind a pipe: a process of its own, in any language, that may die and come back."""

import contextlib
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ._device import AbstractDevice, Description, DeviceError, Measurement, Weights
from ._frames import receive, send


class ProcessDevice(AbstractDevice):
    """Speaks the protocol with a process over its standard input and output.

    A process that ends or does not answer in time is started again, and what was asked for last is
    asked again. A write has a serial number, so that none is done twice. `restarts` counts how
    often that was so.

    **Arguments:**

    * `command`: the program and its arguments.
    * `timeout`: seconds after which an answer is no longer waited for.
    * `attempts`: processes that are started for one request before it fails.

    **Raises:** `DeviceError` if the program cannot be started or does not describe itself.
    """

    def __init__(self, command: Sequence[str], *, timeout: float = 60.0, attempts: int = 5):
        self._command, self._timeout, self._attempts = tuple(command), timeout, attempts
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        try:
            values, _ = self._ask({"call": "describe"}, {})
            self._description = Description.from_json(values.get("description"))
            self._serial = int(values.get("serial", 0))
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        """Returns what the process said of its device when it was first asked."""
        return self._description

    def settle(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Measurement:
        """Sends inputs and control, and receives what was measured."""
        _, arrays = self._ask({"call": "settle"}, {"inputs": inputs, "control": control})
        try:
            return Measurement(arrays["state"], arrays["output"])
        except KeyError as error:
            raise DeviceError(
                f"The device answered settle with {sorted(arrays)}, but it measures a state and an "
                "output: correct the program."
            ) from error

    def read(self) -> Weights:
        """Receives the weights."""
        return self._ask({"call": "read"}, {})[1]

    def write(self, changes: Weights) -> None:
        """Sends changes, once."""
        self._serial += 1
        self._ask({"call": "write", "serial": self._serial}, changes)

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            # What was not written yet cannot be.
            with contextlib.suppress(OSError, ValueError):
                self.process.communicate()
            self.process = None

    def _ask(
        self, request: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        for attempt in range(self._attempts):
            process = self._started(attempt > 0)
            assert process.stdin is not None
            assert process.stdout is not None
            # A process that hangs is one that died.
            late = threading.Timer(self._timeout, process.kill)
            late.start()
            try:
                send(process.stdin, request, arrays)
                values, answers = receive(process.stdout)
            except (EOFError, OSError):
                continue
            finally:
                late.cancel()
            if values.get("answer") != request["call"]:
                raise DeviceError(
                    f"The device refused {request['call']}: {values.get('reason', values)}"
                )
            return values, answers
        raise DeviceError(
            f"The program {self._command[0]} ended or did not answer {request['call']} "
            f"{self._attempts} times: run it by itself and see what it says."
        )

    def _started(self, again: bool) -> subprocess.Popen[bytes]:
        if self.process is not None and (again or self.process.poll() is not None):
            self.close()
            self.restarts += 1
        if self.process is None:
            try:
                self.process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            except OSError as error:
                raise DeviceError(
                    f"The program {self._command[0]} cannot be started ({error.strerror}): give "
                    "a command that runs it."
                ) from error
        return self.process
