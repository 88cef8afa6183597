"""Parsing of JSON and TOML from untrusted text."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from ._reading import FileError, read_bytes

LARGEST_TEXT = 2**28
# No number here needs more digits. Python has limits too, but with differing error messages.
MOST_DIGITS = 400
_LONG_NUMBER = re.compile(rf"[0-9_]{{{MOST_DIGITS + 1},}}")


def strict(value: Any) -> Any:
    """Converts a value to strict JSON: numbers that are not finite become `None`, tuples lists."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: str | bytes, source: object) -> Any:
    """Parses JSON text.

    **Raises:** `FileError` naming `source` for text that is not JSON, has numbers that are too long
    or out of the range of floating point, or is nested too deeply.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{source} cannot be read as JSON ({_reason(error)}): it is damaged."
        ) from (error)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits")
    value = int(digits)
    # It must be convertible to floating point.
    if abs(value) >= 10**308:
        raise ValueError("a whole number is beyond 10³⁰⁸")
    return value


def _real(digits: str) -> float:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is beyond the largest number")
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_json(path: Path, limit: int = LARGEST_TEXT) -> Any:
    """Reads a JSON file.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` if there is no such file, `FileError`
    for any other defect.
    """
    return parse_json(read_bytes(path, limit), path)


def parse_toml(text: str, source: object) -> dict[str, Any]:
    """Parses TOML text.

    **Raises:** `FileError` naming `source` for text that is not TOML or has numbers that are too
    long.
    """
    try:
        if _LONG_NUMBER.search(text):
            raise ValueError(f"a number has more than {MOST_DIGITS} digits")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{source} cannot be read as TOML: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
