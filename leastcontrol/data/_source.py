"""What a source of data is: a name, and a way to read its samples."""

import abc
import os
from pathlib import Path
from typing import NamedTuple

from ._dataset import Dataset

Folder = str | os.PathLike[str]


class Pool(NamedTuple):
    """Samples before the split: those to learn from, and the official test set, if any."""

    learning: Dataset
    test: Dataset | None


class AbstractSource(abc.ABC):
    """Something with a name that can be read. It holds no arrays: listing it costs nothing."""

    name: str

    @abc.abstractmethod
    def read(self, data_dir: Folder | None, cache_dir: Folder | None) -> Pool:
        """Read all samples, inputs scaled to [0, 1] and flattened, and verify their checksums.

        **Arguments:**

        - `data_dir`: the folder that the caller named, or `None`.
        - `cache_dir`: the folder for downloads that the caller named, or `None`.

        **Raises:** `DataError`.
        """


def cache_folder(cache_dir: Folder | None) -> Path:
    """The folder for downloads: `cache_dir`, else the one that the environment names.

    Those are `$LEASTCONTROL_CACHE`, `$XDG_CACHE_HOME/leastcontrol`, `~/.cache/leastcontrol`.
    """
    named = cache_dir if cache_dir is not None else os.environ.get("LEASTCONTROL_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leastcontrol"
