"""Downloads from public mirrors into a cache folder."""

import math
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ._dataset import DataError
from ._idx import LIMIT

# Environment variable that names a folder with data set files.
DATA_VARIABLE = "LEASTCONTROL_DATA"


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

    **Raises:** `DataError` if all mirrors fail, with the last failure of each.
    """
    failures: dict[str, Exception] = {}
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff * 2 ** (attempt - 1))
        for url in urls:
            try:
                content = _fetch(url, policy.timeout)
                check(content)
            # The next mirror may work if this one is down, breaks off or serves another file.
            except (OSError, HTTPException, ValueError) as error:
                failures[url] = error
            else:
                return content
    reasons = "; ".join(f"{url}: {error}" for url, error in failures.items())
    raise DataError(f"no mirror provided the file in {policy.attempts} attempts each ({reasons})")


def _fetch(url: str, timeout: float) -> bytes:
    # Imported here because most runs never download.
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(
            Request(url, headers={"User-Agent": "leastcontrol"}), timeout=timeout
        ) as response:
            content = response.read(LIMIT + 1)
            # With a limit, http.client does not raise if the connection breaks off.
            announced = response.headers.get("Content-Length")
    except HTTPError as error:
        error.close()
        raise
    if announced is not None and len(content) != int(announced):
        raise DataError(f"the connection broke after {len(content)} of {announced} bytes")
    return content


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
