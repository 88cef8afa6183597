"""Fetching a file from public mirrors, and writing it whole or not at all."""

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

# Names a folder with the data sets' files.
DATA_VARIABLE = "LEASTCONTROL_DATA"


@dataclass(frozen=True)
class DownloadPolicy:
    """How patiently mirrors are asked.

    **Arguments:**

    - `attempts`: how many times each mirror is asked; at least 1.
    - `timeout`: seconds without an answer after which one attempt is given up; positive.
    - `backoff`: seconds before the second round of attempts, doubled before each further one; at
      least 0.

    **Raises:** `DataError` where one of them is out of range.
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
                f"DownloadPolicy(backoff={self.backoff}): expected a finite number of seconds from "
                "0."
            )


def download(
    urls: Sequence[str], policy: DownloadPolicy, check: Callable[[bytes], object]
) -> bytes:
    """The first content that one of `urls` gives and that `check` accepts.

    **Arguments:**

    - `urls`: the same file at each mirror, in order of preference.
    - `policy`: how often and how patiently to ask.
    - `check`: raises `DataError` on content that is not the file.

    **Raises:** `DataError` where no mirror gave it; it names each mirror's last failure.
    """
    failures: dict[str, Exception] = {}
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff * 2 ** (attempt - 1))
        for url in urls:
            try:
                content = _fetch(url, policy.timeout)
                check(content)
            # Down, breaking off, or serving something else: the next mirror may do better.
            except (OSError, HTTPException, ValueError) as error:
                failures[url] = error
            else:
                return content
    reasons = "; ".join(f"{url}: {error}" for url, error in failures.items())
    raise DataError(f"no mirror gave the file in {policy.attempts} attempts each ({reasons})")


def _fetch(url: str, timeout: float) -> bytes:
    # Imported here because the library starts without it, and most runs never download.
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(
            Request(url, headers={"User-Agent": "leastcontrol"}), timeout=timeout
        ) as response:
            content = response.read(LIMIT + 1)
            # Given a bound, http.client does not raise where the connection breaks off.
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
    """Fetches a file into a cache folder.

    **Arguments:**

    - `folder`, `name`: where it comes to lie, under the name that it has at every mirror.
    - `mirrors`: what the name is put behind, in order of preference.
    - `policy`, `check`: of `download`.
    - `of`, `instead`: what the file is a part of, and what may be put into a folder instead.

    **Raises:** `DataError` where no mirror gave it, or the folder cannot be written.
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
    """Write a file so that nobody sees a part of it; `OSError` where that fails, with no trace."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
