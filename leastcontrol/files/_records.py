"""JSON objects that carry a checksum of themselves.

A record has one key more than what it says, `checksum`: the SHA-256 of the rest as JSON without
white space and with sorted keys. Records of an older version have none; which of them are read
without is for the reader to say.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ._json import LARGEST_TEXT, parse_json, strict
from ._reading import FileError, read_bytes

KEY = "checksum"


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with the checksum of all that it holds."""
    value = strict(value)
    return {**value, KEY: _checksum(value)}


def _checksum(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_line(value: dict[str, Any]) -> str:
    """Returns a record as one line."""
    return json.dumps(with_checksum(value), allow_nan=False) + "\n"


def parse_record(text: str | bytes, source: object, *, required: bool = False) -> Any:
    """Returns what a record says, without its checksum.

    **Arguments:** `required`, whether what has no checksum is refused.

    **Raises:** `FileError` where the checksum does not fit, or is missing though required.
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
            "what it says."
        )
    return value


def is_record(path: Path) -> bool:
    """Returns whether there is a file of JSON that carries a checksum, whatever it is.

    **Raises:** `FileError` where it cannot be read.
    """
    try:
        value = parse_json(read_bytes(path, LARGEST_TEXT), path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return isinstance(value, dict) and KEY in value


def read_record(path: Path, *, required: bool = False) -> Any:
    """Returns what a file with one record says.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` where there is none, `FileError`
    otherwise.
    """
    return parse_record(read_bytes(path, LARGEST_TEXT), path, required=required)
