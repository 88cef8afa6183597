"""The device's side of a pipe."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ._device import AbstractDevice, DeviceError
from ._frames import receive, send


def serve(
    device: AbstractDevice,
    reading: Any,
    writing: Any,
    journal: Path | None = None,
) -> None:
    """Answers the requests of a `ProcessDevice` until the stream ends.

    A write has a serial number and is done once: one that is asked for again, because the answer
    was lost, is answered without writing.

    **Arguments:**

    * `device`: what is served.
    * `reading`, `writing`: binary streams, such as `sys.stdin.buffer` and `sys.stdout.buffer`.
    * `journal`: file that keeps the weights and the last serial number, for a device that would
      forget them when its process ends; it is written before a write is answered.

    **Raises:** `files.FileError` for a journal that is damaged.
    """
    serial = 0
    if journal is not None and journal.exists():
        kept = files.read_json(journal)
        serial = int(kept["serial"])
        now = device.read()
        device.write({n: np.asarray(w, float) - now[n] for n, w in kept["weights"].items()})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, arrays = receive(reading)
            answer: dict = {"answer": request.get("call")}
            result: dict[str, np.ndarray] = {}
            try:
                match request.get("call"):
                    case "describe":
                        answer |= {"description": device.describe().as_json(), "serial": serial}
                    case "settle":
                        measured = device.settle(arrays["inputs"], arrays["control"])
                        result = measured._asdict()
                    case "read":
                        result = device.read()
                    case "write":
                        if int(request["serial"]) > serial:
                            device.write(arrays)
                            serial = int(request["serial"])
                            if journal is not None:
                                weights = {n: w.tolist() for n, w in device.read().items()}
                                files.write_json(journal, {"serial": serial, "weights": weights})
                    case call:
                        raise DeviceError(f"The call {call!r} is unknown to the device.")
            except (DeviceError, KeyError, TypeError, ValueError) as error:
                answer, result = {"answer": "error", "reason": str(error)}, {}
            send(writing, answer, result)
