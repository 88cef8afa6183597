"""Messages of the protocol as bytes: one line of JSON, then the arrays it names.

The line is an object whose `arrays` lists name and shape of every array; their values follow in
this order, as little-endian doubles in C order. Any language can read and write that, and nothing
that is read is run.
"""

import json
import math
from typing import Any

import numpy as np

from ._device import DeviceError

LONGEST_LINE = 2**20
LARGEST_MESSAGE = 2**28
"""In bytes; a longer message is taken for damage."""


def send(stream: Any, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes a message to a binary stream.

    **Raises:** `OSError` if the other side is gone.
    """
    shapes = [[name, list(array.shape)] for name, array in arrays.items()]
    parts = [np.ascontiguousarray(array, "<f8").tobytes() for array in arrays.values()]
    line = json.dumps({**values, "arrays": shapes}).encode()
    stream.write(b"".join([line, b"\n", *parts]))
    stream.flush()


def receive(stream: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads a message from a binary stream.

    **Raises:** `EOFError` if the other side is gone; `DeviceError` for what is no message.
    """
    line = stream.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):
        if len(line) < LONGEST_LINE:
            raise EOFError("The stream ended.")
        raise _no_message(line)
    try:
        values = json.loads(line)
        shapes = [(str(name), tuple(map(int, shape))) for name, shape in values.pop("arrays")]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _no_message(line) from error
    sizes = [8 * math.prod(shape) for _, shape in shapes]
    if any(min(shape, default=0) < 0 for _, shape in shapes) or sum(sizes) > LARGEST_MESSAGE:
        raise _no_message(line)
    arrays = {}
    for (name, shape), size in zip(shapes, sizes, strict=True):
        content = stream.read(size)
        if len(content) < size:
            raise EOFError("The stream ended inside an array.")
        arrays[name] = np.frombuffer(content, "<f8").reshape(shape).astype(np.float64)
    return values, arrays


def _no_message(line: bytes) -> DeviceError:
    return DeviceError(
        f"The device sent {line[:80]!r}, but a message begins with a line of JSON that names its "
        "arrays: print nothing else on its standard output."
    )
