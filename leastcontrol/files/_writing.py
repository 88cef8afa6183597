"""Writing of files, whole or not at all."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._json import strict
from ._reading import FileError


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a temporary file and moves it to `path`, so that an old file stays until then.

    Writes directly to devices such as `/dev/stdout`, which moving a file there would replace.

    **Raises:** `FileError` if the file cannot be written.
    """
    content = content.encode() if isinstance(content, str) else content
    is_device = _is_device(path)
    temporary = path if is_device else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        if not is_device:
            os.replace(temporary, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} could not be written: {reason}.") from error
    finally:
        if not is_device:
            with contextlib.suppress(OSError, ValueError):
                temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        # Writing will report a name that is too long.
        return False


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file; numbers that are not finite become `null`.

    **Raises:** `FileError` if the file cannot be written.
    """
    write_whole(path, json.dumps(strict(value), indent=2, allow_nan=False) + "\n")


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Formats rows as CSV, with the keys of the first row as the header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
