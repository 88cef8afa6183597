"""One file of a header and arrays, with a checksum over both.

The first line is the SHA-256 of all that follows, in hexadecimal; the second is the header, a JSON
object that says what kind of file it is; the rest are arrays in Equinox's leaf format. Nothing is
read before the checksum fits, and reading runs no code.
"""

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PyTree

from ..files import FileError, parse_json, read_bytes, write_whole
from ._placement import placed_like

VERSION = 1
# In bytes; the header lists no more than the figures of a training's epochs.
LONGEST_HEADER = 2**26


class FolderError(FileError):
    """A run folder or a file of it cannot be made, written or read; the message says why."""


@dataclasses.dataclass(frozen=True)
class Sealed:
    """What a file holds: its header, and its arrays as bytes."""

    path: Path
    header: dict[str, Any]
    content: bytes

    def arrays(self, like: PyTree[Any]) -> PyTree[Any]:
        """Puts the arrays of the file into a pytree like another.

        **Raises:** `FolderError` where their shapes, types or number are others; `PrecisionError`
        where this process computes with another precision.
        """
        check_precision(self.path, self.header)
        try:
            return arrays_of(self.content, like)
        except Exception as error:
            raise FolderError(
                f"{self.path} holds arrays of other shapes than its configuration asks for: it is "
                "of another version of the library, or of another run."
            ) from error


class PrecisionError(FolderError):
    """A file is whole, but its numbers have another precision than this process computes with."""


def arrays_of(content: bytes, like: PyTree[Any]) -> PyTree[Any]:
    """Reads arrays in Equinox's leaf format into a pytree like another, onto the same devices.

    **Raises:** whatever reading them raises where the content is not exactly these arrays.
    """
    stream = io.BytesIO(content)
    arrays = eqx.tree_deserialise_leaves(stream, like, _array_like)
    if stream.read(1):
        raise ValueError("there is more in the file than these arrays")
    return arrays


def _array_like(stream: io.BytesIO, like: Any) -> Any:
    # One array after another, so that no device holds more than one that is not divided yet.
    return placed_like(eqx.default_deserialise_filter_spec(stream, like), like)


def check_precision(path: Path, header: dict[str, Any]) -> None:
    """Raises `PrecisionError` for a file of another precision than this process computes with."""
    written = header.get("precision", precision())
    if written != precision():
        raise PrecisionError(
            f"{path} holds numbers of {written}, and this process computes with {precision()}: "
            f"set JAX_ENABLE_X64={int(written == 'float64')}, and it goes on."
        )


def precision() -> str:
    """Returns the name of the type of numbers that this process computes with."""
    return jnp.zeros(0).dtype.name


def sealed(kind: str, header: dict[str, Any], arrays: PyTree[Any]) -> bytes:
    """Makes the content of a file from a header and the arrays of a pytree."""
    stream = io.BytesIO()
    whole = {"kind": kind, "version": VERSION, "precision": precision(), **header}
    stream.write(json.dumps(whole).encode() + b"\n")
    eqx.tree_serialise_leaves(stream, arrays)
    content = stream.getvalue()
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def write_sealed(path: Path, kind: str, header: dict[str, Any], arrays: PyTree[Any]) -> None:
    """Writes a file of a header and the arrays of a pytree, whole or not at all."""
    write_whole(path, sealed(kind, header, arrays))


def read_sealed(path: Path, kind: str) -> Sealed:
    """Reads what a file holds.

    **Raises:** `FileError` if it cannot be read, `FolderError` if it is damaged or of another kind.
    """
    try:
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_sealed(path, content, kind)


def parse_sealed(path: Path, everything: bytes, kind: str) -> Sealed:
    """Reads what the content of a file holds.

    **Raises:** `FolderError` if it is damaged, or of another kind.
    """
    checksum, _, content = everything.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise FolderError(
            f"{path} is no {kind} of leastcontrol, or is damaged: its checksum does not fit its "
            "content."
        )
    line, _, arrays = content.partition(b"\n")
    try:
        if len(line) > LONGEST_HEADER:
            raise FolderError("its header is too long")
        header = parse_json(line, path)
        written, version = header["kind"], header["version"]
    except (FileError, TypeError, KeyError) as error:
        raise FolderError(f"{path} is no {kind} of leastcontrol: it has no header.") from error
    if (written, version) != (kind, VERSION):
        raise FolderError(
            f"{path} is a {written} of version {version}, but a {kind} of version {VERSION} is "
            "expected: give another file."
        )
    return Sealed(path, header, arrays)
