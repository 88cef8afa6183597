"""Downloads from public mirrors into a cache folder.

Pooch fetches a file from one mirror; the rounds over the mirrors, and the check of what they serve,
which may be of the unpacked content, are here. Whoever shows progress asks for it by
`downloads_shown` around what may download.
"""

import contextlib
import contextvars
import io
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._dataset import DataError
from ._idx import LIMIT

# Environment variable that names a folder with data set files.
DATA_VARIABLE = "LEASTCONTROL_DATA"
# In bytes, of what is read at a time and then reported.
CHUNK = 2**16

Shown = Callable[[str, int, int | None], None]
_shown: contextvars.ContextVar[Shown | None] = contextvars.ContextVar("shown", default=None)


@contextlib.contextmanager
def downloads_shown(show: Shown) -> Iterator[None]:
    """Reports the downloads inside a `with` block.

    **Arguments:** `show`, called with the name of a file, the number of bytes that are there, and
    the number of all of them if the mirror announced it.
    """
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)


@dataclass(frozen=True)
class DownloadPolicy:
    """Retries and timeouts of downloads.

    **Arguments:**

    - `attempts`: number of attempts at each mirror; at least 1.
    - `timeout`: seconds without a response after which an attempt fails; positive.
    - `backoff`: seconds before the second round of attempts, doubled before each later round; at
      least 0.

    **Raises:** `DataError` for a value out of range.
    """

    attempts: int = 3
    timeout: float = 30.0
    backoff: float = 1.0

    def __post_init__(self):
        if self.attempts < 1:
            raise DataError(f"DownloadPolicy(attempts={self.attempts}): expected at least 1.")
        if not 0 < self.timeout < math.inf:
            raise DataError(
                f"DownloadPolicy(timeout={self.timeout}): expected a finite number of seconds "
                "above 0."
            )
        if not 0 <= self.backoff < math.inf:
            raise DataError(
                f"DownloadPolicy(backoff={self.backoff}): expected a finite number of seconds, "
                "at least 0."
            )


def download(
    urls: Sequence[str], policy: DownloadPolicy, check: Callable[[bytes], object]
) -> bytes:
    """Downloads the first content that `check` accepts.

    **Arguments:**

    - `urls`: addresses of the file at each mirror, in order of preference.
    - `policy`: retries and timeouts.
    - `check`: raises `DataError` for wrong content.

    **Raises:** `DataError` if all mirrors fail, with the last failure of each, or without pooch.
    """
    if find_spec("pooch") is None:
        raise DataError("downloads need pooch, which is missing: pip install 'leastcontrol[train]'")
    failures: dict[str, Exception] = {}
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff * 2 ** (attempt - 1))
        for url in urls:
            try:
                content = _fetch(url, policy.timeout)
                check(content)
            # The next mirror may work if this one is down, breaks off or serves another file. What
            # pooch raises of a connection is an `OSError`.
            except (OSError, ValueError) as error:
                failures[url] = error
            else:
                return content
    reasons = "; ".join(f"{url}: {_reason(error)}" for url, error in failures.items())
    raise DataError(f"no mirror provided the file in {policy.attempts} attempts each ({reasons})")


def _reason(error: Exception) -> str:
    """Says why a mirror failed; what requests says of a connection is of its own layers."""
    from requests import exceptions

    match error:
        case exceptions.Timeout():
            return "no answer in time"
        case exceptions.ConnectionError():
            return "no connection"
    return str(error)


def _fetch(url: str, timeout: float) -> bytes:
    # Imported here because most runs never download.
    from pooch import HTTPDownloader
    from requests.exceptions import ChunkedEncodingError

    content = _Content()
    progress = _Progress(url.rsplit("/", 1)[-1], content)
    responses: list[Any] = []

    def opened(response: Any, **_: Any) -> None:
        responses.append(response)

    fetch = HTTPDownloader(
        # By its documentation any object with these methods, by its types only true or false.
        progressbar=progress,  # pyright: ignore[reportArgumentType]
        chunk_size=CHUNK,
        timeout=timeout,
        # What is packed stays packed: its checksum is known.
        headers={"User-Agent": "leastcontrol", "Accept-Encoding": "identity"},
        hooks={"response": opened},
    )
    try:
        fetch(url, content, None)
    except ChunkedEncodingError as error:
        raise DataError(
            f"the connection broke after {content.tell()} of {progress.total} bytes"
        ) from error
    finally:
        # Pooch leaves the connection of a mirror that refuses open.
        for response in responses:
            response.close()
    return content.getvalue()


class _Content(io.BytesIO):
    """What is downloaded."""

    def write(self, content: Any) -> int:
        """Adds bytes.

        **Raises:** `DataError` for more than any known file has.
        """
        if self.tell() + len(content) > LIMIT:
            raise DataError(f"it has more than {LIMIT} bytes, which no known file has")
        return super().write(content)


class _Progress:
    """The bar that pooch moves.

    * `total`: number of bytes that the mirror announced; 0 if it did not.
    """

    total = 0

    def __init__(self, name: str, content: io.BytesIO):
        self._name, self._content = name, content

    def update(self, count: int) -> None:
        """Reports how much is there; the number is pooch's, of whole chunks."""
        del count
        show = _shown.get()
        if show is not None:
            show(self._name, self._content.tell(), self.total or None)

    def reset(self) -> None:
        """Does nothing: what is there is counted from the content."""

    def close(self) -> None:
        """Does nothing: who shows the progress ends it."""


def download_into(
    folder: Path,
    name: str,
    mirrors: Sequence[str],
    policy: DownloadPolicy,
    check: Callable[[bytes], object],
    *,
    of: str,
    instead: str,
) -> None:
    """Downloads a file into a cache folder.

    **Arguments:**

    - `folder`, `name`: the folder, and the file name, which is the same at every mirror.
    - `mirrors`: base addresses, in order of preference.
    - `policy`, `check`: as for `download`.
    - `of`, `instead`: for error messages, the data set, and the files to provide by hand instead.

    **Raises:** `DataError` if all mirrors fail, or the folder cannot be written.
    """
    try:
        content = download([mirror + name for mirror in mirrors], policy, check)
    except DataError as error:
        raise DataError(
            f"cannot download {name} of {of}: {error}; put {instead} into a folder and name it "
            f"with data_dir or {DATA_VARIABLE}."
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content)
    except OSError as error:
        raise DataError(
            f"cannot write the cache folder {folder} ({error.strerror}); expected a folder "
            "that can be written: name one with cache_dir or LEASTCONTROL_CACHE."
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; raises `OSError` and leaves no partial file otherwise."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
