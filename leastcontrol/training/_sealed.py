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
from jaxtyping import PyTree

from ._folder import FolderError, write_whole

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Sealed:
    """What a file holds: its header, and its arrays as bytes."""

    path: Path
    header: dict[str, Any]
    content: bytes

    def arrays(self, like: PyTree[Any]) -> PyTree[Any]:
        """Returns a pytree like another with the arrays of the file.

        **Raises:** `FolderError` where they are of other shapes, types or number.
        """
        stream = io.BytesIO(self.content)
        try:
            arrays = eqx.tree_deserialise_leaves(stream, like)
            if stream.read(1):
                raise ValueError("there is more in the file")
        except Exception as error:
            raise FolderError(
                f"{self.path} holds arrays of other shapes than its configuration asks for: it is "
                "of another version of the library, or of another run."
            ) from error
        return arrays


def write_sealed(path: Path, kind: str, header: dict[str, Any], arrays: PyTree[Any]) -> None:
    """Writes a header and the arrays of a pytree, whole or not at all."""
    stream = io.BytesIO()
    stream.write(json.dumps({"kind": kind, "version": VERSION, **header}).encode() + b"\n")
    eqx.tree_serialise_leaves(stream, arrays)
    content = stream.getvalue()
    checksum = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, lambda temporary: temporary.write_bytes(checksum + b"\n" + content))


def read_sealed(path: Path, kind: str) -> Sealed:
    """Returns what a file holds.

    **Raises:** `FolderError` if it cannot be read, is damaged, or is of another kind.
    """
    try:
        everything = path.read_bytes()
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}.") from error
    checksum, _, content = everything.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise FolderError(
            f"{path} is no {kind} of leastcontrol, or is damaged: its checksum does not fit its "
            "content."
        )
    line, _, arrays = content.partition(b"\n")
    try:
        header = json.loads(line)
        found, version = header["kind"], header["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FolderError(f"{path} is no {kind} of leastcontrol: it has no header.") from error
    if (found, version) != (kind, VERSION):
        raise FolderError(
            f"{path} is a {found} of version {version}, but a {kind} of version {VERSION} is "
            "expected: give another file."
        )
    return Sealed(path, header, arrays)
