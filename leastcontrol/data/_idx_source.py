"""Image data sets published as four IDX files.

The source looks for the files in this order and uses only the first place that applies:

1. the folder that the caller names, or else the one in `$LEASTCONTROL_DATA`. It must contain all
   four files, because a named folder is never silently replaced by another place;
2. a folder of the operating system's package manager;
3. the cache folder, into which missing files are downloaded.
"""

import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ._dataset import DataError, Dataset, Provenance
from ._download import DATA_VARIABLE, DownloadPolicy, download_into
from ._idx import parse_idx, read_bytes, unpack
from ._source import AbstractSource, Folder, Pool, cache_folder


@dataclass(frozen=True)
class IdxFile:
    """One file: its `name` without `.gz`, and the SHA-256 of its unpacked content."""

    name: str
    sha256: str

    def verify(self, unpacked: bytes, *, where: str) -> None:
        """Raises `DataError` if the content is not that of the published file."""
        digest = hashlib.sha256(unpacked).hexdigest()
        if digest != self.sha256:
            raise DataError(
                f"{where}: the SHA-256 of the unpacked content is {digest}; expected "
                f"{self.sha256}: the file was changed or belongs to another data set with the same "
                "file names; remove it or name another folder."
            )


@dataclass(frozen=True)
class IdxSource(AbstractSource):
    """An image data set in four IDX files, each plain or gzip.

    **Arguments:**

    - `name`: name of the data set and of its subfolder.
    - `classes`: the number of classes.
    - `shape`: height and width of an image, in pixels.
    - `source`, `licence`: see [`leastcontrol.data.Provenance`][].
    - `train_images`, `train_labels`, `test_images`, `test_labels`: the files.
    - `mirrors`: base addresses, ending in `/`, of the files with the suffix `.gz`, in order of
      preference.
    - `system_folders`: folders of an operating system package.
    - `policy`: retries and timeouts of downloads.
    """

    name: str
    classes: int
    shape: tuple[int, int]
    source: str
    licence: str
    train_images: IdxFile
    train_labels: IdxFile
    test_images: IdxFile
    test_labels: IdxFile
    mirrors: tuple[str, ...]
    system_folders: tuple[str, ...] = ()
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)

    def read(self, data_dir: Folder | None, cache_dir: Folder | None) -> Pool:
        folder = self._folder(data_dir, cache_dir)
        return Pool(
            learning=self._part(folder, self.train_images, self.train_labels),
            test=self._part(folder, self.test_images, self.test_labels),
        )

    @property
    def _files(self) -> tuple[IdxFile, ...]:
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    def _folder(self, data_dir: Folder | None, cache_dir: Folder | None) -> Path:
        if data_dir is not None:
            return self._named_folder(Path(data_dir).expanduser(), given_by="data_dir")
        if variable := os.environ.get(DATA_VARIABLE):
            return self._named_folder(Path(variable).expanduser(), given_by=DATA_VARIABLE)
        for folder in map(Path, self.system_folders):
            if any(_find(folder, file) for file in self._files):
                return folder
        return self._cached(cache_folder(cache_dir) / self.name)

    def _named_folder(self, folder: Path, *, given_by: str) -> Path:
        if not folder.is_dir():
            raise DataError(
                f"{given_by}={folder}: no such folder; expected one with the IDX files of "
                f"{self.name}."
            )
        for candidate in (folder / self.name, folder):
            if any(_find(candidate, file) for file in self._files):
                return candidate
        raise DataError(
            f"{given_by}={folder}: neither it nor its subfolder {self.name} holds an IDX file of "
            f"{self.name}; put {', '.join(file.name for file in self._files)} there (plain or "
            f".gz), or leave out {given_by} to have them downloaded."
        )

    def _cached(self, folder: Path) -> Path:
        for file in self._files:
            if _find(folder, file) is None:
                self._download(file, folder)
        return folder

    def _download(self, file: IdxFile, folder: Path) -> None:
        def check(content: bytes) -> None:
            file.verify(unpack(content, where=file.name), where=file.name)

        download_into(
            folder,
            f"{file.name}.gz",
            self.mirrors,
            self.policy,
            check,
            of=self.name,
            instead="the four IDX files",
        )

    def _part(self, folder: Path, images: IdxFile, labels: IdxFile) -> Dataset:
        contents = {file: self._content(folder, file) for file in (images, labels)}
        pixels = parse_idx(contents[images], axes=3, where=str(folder / images.name))
        # Not -1, which is undefined for zero images.
        flat = pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))
        targets = parse_idx(contents[labels], axes=1, where=str(folder / labels.name))
        part = Dataset(
            name=self.name,
            inputs=np.divide(flat, 255, dtype=np.float32),
            targets=targets.astype(np.int32),
            classes=self.classes,
            shape=self.shape,
            provenance=Provenance(
                source=self.source,
                licence=self.licence,
                origin=str(folder),
                checksums={file.name: file.sha256 for file in contents},
            ),
        )
        # Checksums last, because structural errors are more informative.
        for file, content in contents.items():
            file.verify(content, where=str(folder / file.name))
        return part

    def _content(self, folder: Path, file: IdxFile) -> bytes:
        path = _find(folder, file)
        if path is None:
            raise DataError(
                f"{folder}: the file {file.name} of {self.name} (plain or .gz) is missing; "
                f"expected all of {', '.join(each.name for each in self._files)}: add it."
            )
        return unpack(read_bytes(path), where=str(path))


def _find(folder: Path, file: IdxFile) -> Path | None:
    return next(
        (path for path in (folder / file.name, folder / f"{file.name}.gz") if path.is_file()), None
    )
