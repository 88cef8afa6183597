"""Records: JSON objects with a checksum of their content.

The key `checksum` holds the SHA-256 of the other keys, as JSON with sorted keys and without white
space. Records of older versions have no checksum; the reader decides whether to accept them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ._json import LARGEST_TEXT, parse_json, strict
from ._reading import FileError, read_bytes

KEY = "checksum"


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Adds the checksum of its content to a JSON object."""
    value = strict(value)
    return {**value, KEY: _checksum(value)}


def _checksum(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_line(value: dict[str, Any]) -> str:
    """Formats a JSON object with its checksum as one line."""
    return json.dumps(with_checksum(value), allow_nan=False) + "\n"


def parse_record(text: str | bytes, source: object, *, required: bool = False) -> Any:
    """Parses a record, verifies its checksum, and returns the content.

    **Arguments:** `required`, whether a record without a checksum is an error.

    **Raises:** `FileError` if the checksum does not match, or is required but missing.
    """
    value = parse_json(text, source)
    if not isinstance(value, dict):
        return value
    if KEY not in value:
        if required:
            raise FileError(f"{source} has lost its checksum: it was changed or is damaged.")
        return value
    checksum = value.pop(KEY)
    if checksum != _checksum(value):
        raise FileError(
            f"{source} was changed after it was written, or is damaged: its checksum does not fit "
            "its content."
        )
    return value


def is_record(path: Path) -> bool:
    """Returns whether a JSON file exists and has a checksum, valid or not.

    **Raises:** `FileError` if the file cannot be read.
    """
    try:
        value = parse_json(read_bytes(path, LARGEST_TEXT), path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return isinstance(value, dict) and KEY in value


def read_record(path: Path, *, required: bool = False) -> Any:
    """Reads a file that holds one record, and returns its content.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` if there is no such file, `FileError`
    for any other defect.
    """
    return parse_record(read_bytes(path, LARGEST_TEXT), path, required=required)
