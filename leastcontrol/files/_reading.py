"""Reading of regular files with a bound on their size."""

import errno
import os
import stat
from pathlib import Path

LARGEST = 2**30
"""Default limit of file sizes in bytes. CIFAR-10 has 0.2 GB, and only training states of networks
larger than this library is for would exceed it."""


class FileError(ValueError):
    """Raised if a file cannot be read or written, with a sentence that gives the reason."""


def read_bytes(path: Path, limit: int = LARGEST) -> bytes:
    """Reads a regular file of at most `limit` bytes.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` if there is no such file; `FileError`
    for a file that is not regular (reading it might block forever), is too large, or cannot be
    read.
    """
    try:
        # O_NONBLOCK: do not wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {_reason(error)}.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileError(f"{path} is {_kind(status.st_mode)} and no file: name a file.")
    with open(descriptor, "rb") as file:
        try:
            if status.st_size > limit:
                raise FileError(
                    f"{path} has {status.st_size} bytes, but at most {limit} are read: give the "
                    "file that is meant, or a smaller one."
                )
            content = file.read(limit + 1)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {_reason(error)}.") from error
    if len(content) > limit:
        raise FileError(f"{path} grew while it was read: wait until it has been written.")
    return content


def read_text(path: Path, limit: int = LARGEST) -> str:
    """Reads a file as UTF-8 text.

    **Raises:** as `read_bytes`.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} cannot be read as UTF-8 text (byte {error.start} is invalid): it is damaged."
        ) from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "its name is too long"
    # A ValueError comes from a name that contains a zero byte.
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
