"""JSON and TOML, from text that may hold anything."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from ._reading import FileError, read_bytes

LARGEST_TEXT = 2**28
# Python refuses to read longer ones, each in its own words, and no number here needs them.
MOST_DIGITS = 400
_LONG_NUMBER = re.compile(rf"[0-9_]{{{MOST_DIGITS + 1},}}")


def strict(value: Any) -> Any:
    """Returns a value as JSON has it: numbers that are not finite become `None`, tuples lists."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: str | bytes, source: object) -> Any:
    """Returns what JSON text holds.

    **Raises:** `FileError` naming `source` for what is no JSON, has numbers without end or beyond
    those of floating point, or lies too deep.
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
    # Whoever takes it for a real number must be able to.
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
    raise ValueError(f"{name} is no number of JSON's")


def read_json(path: Path, limit: int = LARGEST_TEXT) -> Any:
    """Returns what a JSON file holds.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` where there is none, `FileError`
    otherwise.
    """
    return parse_json(read_bytes(path, limit), path)


def parse_toml(text: str, source: object) -> dict[str, Any]:
    """Returns the tables of TOML text.

    **Raises:** `FileError` naming `source` for anything else.
    """
    try:
        if _LONG_NUMBER.search(text):
            raise ValueError(f"a number has more than {MOST_DIGITS} digits")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{source} cannot be read as TOML: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
