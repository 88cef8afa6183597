"""Bytes of regular files, within a bound."""

import errno
import os
import stat
from pathlib import Path

LARGEST = 2**30
"""Bytes of the largest file that is read unless a smaller bound is stated: CIFAR-10 takes 0.2 GB,
and the state of a training more only for networks that this library is not for."""


class FileError(ValueError):
    """A file cannot be read or written; the message is one sentence that says why."""


def read_bytes(path: Path, limit: int = LARGEST) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes.

    **Raises:** `FileNotFoundError` or `NotADirectoryError` where there is none; `FileError` for
    what is no regular file (which could be waited for without end), is too large, or cannot be
    read.
    """
    try:
        # Without waiting for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {_reason(error)}.") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileError(f"{path} is {_kind(found.st_mode)} and no file: name a file.")
    with open(descriptor, "rb") as file:
        try:
            if found.st_size > limit:
                raise FileError(
                    f"{path} has {found.st_size} bytes, but at most {limit} are read: give the "
                    "file that is meant, or a smaller one."
                )
            content = file.read(limit + 1)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {_reason(error)}.") from error
    if len(content) > limit:
        raise FileError(f"{path} grows while it is read: wait until it is written.")
    return content


def read_text(path: Path, limit: int = LARGEST) -> str:
    """Returns the content of a file as UTF-8 text.

    **Raises:** as `read_bytes`.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} cannot be read as text in UTF-8 (byte {error.start} is none): it is damaged."
        ) from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "its name is too long"
    # A name with a byte of zero.
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
