"""The content of the files of data sets."""

from pathlib import Path

from .. import files
from ._dataset import DataError


def read_content(path: Path, expected: str, limit: int = files.LARGEST) -> bytes:
    """The content of a regular file; `expected` says what it should be, and what to do.

    **Raises:** `DataError` where it cannot be read.
    """
    try:
        return files.read_bytes(path, limit)
    except files.FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: it cannot be read ({error.strerror}); {expected}") from error
