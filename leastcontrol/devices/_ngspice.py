"""The program ngspice as a child process, to which commands are sent and which prints voltages.

A process is chosen over the shared library: what ends ngspice does not end the training, and an
answer that does not come can be given up.
"""

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from ._device import DeviceError

MISSING = (
    "ngspice is not installed, but the circuit is simulated by it: install it, with apt-get "
    "install ngspice on Debian, or choose another device."
)
SECONDS = 60.0
"""Longest time for an answer."""
END = "end of the answer"


class Ngspice:
    """A circuit inside ngspice.

    **Arguments:** `netlist`, the circuit.

    **Raises:** `DeviceError` if ngspice is not installed, or finds no operating point of the
    circuit as it is.
    """

    def __init__(self, netlist: str):
        program = shutil.which("ngspice")
        if program is None:
            raise DeviceError(MISSING)
        try:
            # Without the user's own settings, and with commands from a pipe.
            self.process = subprocess.Popen(
                [program, "--no-spiceinit", "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # An interruption of the training is not one of a settle.
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                f"{program} cannot be started ({error.strerror}): install ngspice again."
            ) from error
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "circuit.cir")
                path.write_text(netlist, encoding="utf-8")
                if not self.operating_point(["set numdgt=12", f"source {path}"]):
                    raise DeviceError(
                        "ngspice found no operating point of the circuit before any input was "
                        "applied: install ngspice 39 or a newer version, or lower the mismatch."
                    )
        except BaseException:
            self.close()
            raise

    def ask(self, commands: Iterable[str]) -> list[str]:
        """Sends commands and returns the lines that are printed.

        **Raises:** `DeviceError` if ngspice has ended or does not answer in time.
        """
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(SECONDS, process.kill)
        late.start()
        lines = []
        try:
            process.stdin.write("\n".join([*commands, f"echo {END}"]) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.rstrip().endswith(END):
                    return lines
                lines.append(line)
        except (OSError, ValueError):
            # The end of a process is told below.
            pass
        finally:
            late.cancel()
        self.close()
        raise DeviceError(
            f"ngspice ended, or did not answer in {SECONDS:g} s: start the training again; with "
            "--resume it goes on after the last epoch that was saved."
        )

    def operating_point(self, commands: Iterable[str]) -> dict[str, float]:
        """Sends commands, solves for the operating point, and reads the voltages that are saved.

        A point that is not reached has no voltages.
        """
        # Otherwise ngspice keeps every operating point.
        printed = self._printed([*commands, "op", "print all", "destroy all"])
        return {name: value for name, value in printed.items() if name.isalnum()}

    def mean_voltages(
        self,
        commands: Iterable[str],
        nodes: Sequence[str],
        step: float,
        window: tuple[float, float],
    ) -> dict[str, float]:
        """Sends commands, follows the circuit from its operating point, and averages voltages.

        Nodes have no voltages where a time could not be reached.

        **Arguments:** `step`, the longest of the analysis, and the `window` of time, from and to,
        over which is averaged; in seconds.
        """
        start, stop = window
        names = {f"mean(v({node}))": node for node in nodes}
        printed = self._printed(
            [
                *commands,
                f"tran {step:g} {stop:g} {start:g}",
                # Steps are of unequal lengths, and none of them weighs more than another.
                "linearize",
                f"print {' '.join(names)}",
                "destroy all",
            ]
        )
        return {node: printed[name] for name, node in names.items() if name in printed}

    def _printed(self, commands: Iterable[str]) -> dict[str, float]:
        values = {}
        for line in self.ask(commands):
            name, equals, value = line.partition(" = ")
            if equals:
                with contextlib.suppress(ValueError):
                    values[name.strip()] = float(value)
        return values

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        # What was not written yet cannot be.
        with contextlib.suppress(OSError, ValueError):
            self.process.communicate()
