"""Reading of data set files, with `DataError` for every failure."""

from pathlib import Path

from .. import files
from ._dataset import DataError


def read_content(path: Path, expected: str, limit: int = files.LARGEST) -> bytes:
    """Reads a regular file; `expected` completes the error message.

    **Raises:** `DataError` if the file cannot be read.
    """
    try:
        return files.read_bytes(path, limit)
    except files.FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: it cannot be read ({error.strerror}); {expected}") from error
