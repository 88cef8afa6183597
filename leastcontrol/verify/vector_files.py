"""Reading of reference vectors: an archive of arrays and a JSON string.

Reading never runs code from a file. Every defect is a `VectorError` of one sentence.
"""

import io
import math
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files

# In bytes, packed and unpacked; the largest reference vector has a hundredth of this.
LARGEST = 2**26


class VectorError(ValueError):
    """Raised for a path or file that is not a reference vector, with a one-sentence message."""


@dataclass(frozen=True)
class UnsupportedVector:
    """A readable vector that the library cannot replay, with its `name` and the `reason`."""

    name: str
    reason: str


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a file; pickled objects are errors."""
    if not path.is_file():
        raise VectorError(f"{path} is not a regular file: give a file of reference vectors (.npz).")
    arrays = {}
    try:
        content = files.read_bytes(path, LARGEST)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise VectorError(
                f"{path} is not a complete .npz file: give a file of reference vectors, and copy "
                "it again if it was cut off."
            )
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > LARGEST:
            raise VectorError(
                f"{path} unpacks to {unpacked} bytes, but vectors have at most {LARGEST}: give a "
                "file of reference vectors."
            )
        # Unpickling objects would run code, so NumPy must reject them.
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            for name in loaded.files:
                arrays[name] = loaded[name]
    except VectorError:
        raise
    except files.FileError as error:
        raise VectorError(str(error)) from error
    except (
        EOFError,
        KeyError,
        MemoryError,
        NotImplementedError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise VectorError(
            f"{path} cannot be read as arrays of numbers ({reason}): give an undamaged file of "
            "reference vectors, without pickled objects."
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise VectorError(
                f"{path} holds {name!r}, which is not a NumPy array: give an undamaged file of "
                "reference vectors."
            )
    return arrays


def read_meta(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Removes `meta` from the arrays and parses it."""
    text = arrays.pop("meta", None)
    meta = None
    if text is not None and text.shape == () and text.dtype.kind == "U":
        try:
            meta = files.parse_json(str(text), path)
        except files.FileError:
            meta = None
    if not isinstance(meta, dict):
        raise VectorError(
            f"{path} has no array 'meta' with a JSON object as its text: give a file of reference "
            "vectors."
        )
    return meta


def choice(path: Path, meta: dict[str, Any], name: str, known: tuple[str, ...]) -> str:
    """Reads an option of `meta` that must be one of the `known` words."""
    value = meta.get(name)
    if value not in known:
        given = f"the {name} {value!r}" if name in meta else f"no {name}"
        raise VectorError(
            f"{path} has {given} in its meta, but the known ones are {', '.join(known)}: give a "
            "file of reference vectors."
        )
    return str(value)


def number_of(path: Path, meta: dict[str, Any], name: str, *, positive: bool) -> float:
    """Reads a finite number of `meta`, at least 0, or above 0 if `positive`."""
    value = meta.get(name)
    # Python's True would count as 1, and integers in JSON may exceed the range of floats.
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < sys.float_info.max else math.inf
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        given = f"{name} = {value!r}" if name in meta else f"no {name}"
        least = "above 0" if positive else "of at least 0"
        raise VectorError(
            f"{path} has {given} in its meta, but {name} is a finite number {least}: give an "
            "undamaged file of reference vectors."
        )
    return number
