"""The interface of a data source, and the cache folder."""

import abc
import os
from pathlib import Path
from typing import NamedTuple

from ._dataset import Dataset

Folder = str | os.PathLike[str]


class Pool(NamedTuple):
    """Samples before the split: those for training and validation, and the official test set."""

    learning: Dataset
    test: Dataset | None


class AbstractSource(abc.ABC):
    """A data set that can be read by name. It holds no arrays, so listing sources is cheap."""

    name: str

    @abc.abstractmethod
    def read(self, data_dir: Folder | None, cache_dir: Folder | None) -> Pool:
        """Reads all samples, scales inputs to [0, 1], flattens them, and verifies checksums.

        **Arguments:**

        - `data_dir`: the folder of the files, or `None` for the default.
        - `cache_dir`: the folder for downloads, or `None` for the default.

        **Raises:** `DataError` if the data is missing, damaged or different from what was
        published.
        """


def cache_folder(cache_dir: Folder | None) -> Path:
    """Returns the folder for downloads: `cache_dir`, or else a default from the environment.

    The defaults are `$LEASTCONTROL_CACHE`, `$XDG_CACHE_HOME/leastcontrol` and
    `~/.cache/leastcontrol`, in this order.
    """
    named = cache_dir if cache_dir is not None else os.environ.get("LEASTCONTROL_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leastcontrol"
