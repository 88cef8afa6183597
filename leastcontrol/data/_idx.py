"""The IDX format: a big-endian header (a magic number, then the length of each axis) and the bytes
of the array.

The magic number is two zero bytes, 0x08 for unsigned bytes, and the number of axes: 0x00000803 for
images and 0x00000801 for labels. Source: the page of the MNIST database.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ._content import read_content
from ._dataset import DataError

# The largest known file unpacks to 47 MB. Far larger files are rejected before they fill memory.
LIMIT = 2**28


def unpack(content: bytes, *, where: str) -> bytes:
    """Unpacks gzip content and returns other content unchanged; `where` names it in errors.

    **Raises:** `DataError` if the content is empty, a damaged or truncated gzip file, or unpacks to
    more than `LIMIT` bytes.
    """
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(LIMIT + 1)
        except EOFError as error:
            raise DataError(
                f"{where}: the gzip file is truncated at {len(content)} bytes: fetch it again, "
                "whole."
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{where}: the gzip file is damaged ({error}): fetch it again."
            ) from error
    if not content:
        raise DataError(f"{where}: the file is empty; expected an IDX file: fetch it again.")
    if len(content) > LIMIT:
        raise DataError(
            f"{where}: it holds more than {LIMIT} bytes; expected the IDX file of a small data set."
        )
    return content


def parse_idx(content: bytes, *, axes: int, where: str) -> UInt8[np.ndarray, "..."]:
    """Parses an unpacked IDX file as unsigned bytes with `axes` axes; `where` names it in errors.

    **Raises:** `DataError` if the magic number does not match, or if the content is shorter or
    longer than its header says.
    """
    magic = 0x0800 + axes
    if content[:4] != struct.pack(">I", magic):
        raise DataError(
            f"{where}: it starts with 0x{content[:4].hex()}; expected the magic number "
            f"0x{magic:08x} of an IDX file of unsigned bytes with {axes} "
            f"{'axis' if axes == 1 else 'axes'}: give the file of that name, not another."
        )
    start = 4 * (1 + axes)
    if len(content) < start:
        raise DataError(
            f"{where}: truncated at {len(content)} bytes; expected a header of {start}: fetch it "
            "again."
        )
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        problem = "truncated at" if len(content) < expected else "too long with"
        raise DataError(
            f"{where}: {problem} {len(content)} bytes; expected {expected} for the shape {shape} "
            "in its header: fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_bytes(path: Path) -> bytes:
    """Reads a file; raises `DataError` if it cannot be read."""
    return read_content(path, "expected a readable IDX file.")


def read_idx(path: Path, *, axes: int) -> UInt8[np.ndarray, "..."]:
    """Reads a plain or gzip IDX file of unsigned bytes with `axes` axes (3 for images, 1 for
    labels).

    **Raises:** `DataError` if the file is missing, unreadable, empty, truncated, too long, damaged
    or of another kind.
    """
    return parse_idx(unpack(read_bytes(path), where=str(path)), axes=axes, where=str(path))
