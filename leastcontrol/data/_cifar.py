"""CIFAR-10, colour images of 32 × 32 pixels, from either archive of its authors.

The source looks in the folder that the caller names, or else in `$LEASTCONTROL_DATA`, or else in
the cache, into which it downloads the archive. A folder may contain either archive or its unpacked
files: five training batches and one test batch. In the binary form, an image is one byte for the
label and 3072 for the pixels. The Python form is a pickle, which is read without unpickling.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ._content import read_content
from ._dataset import DataError, Dataset, Provenance, Standardise
from ._download import DATA_VARIABLE, DownloadPolicy, download_into
from ._pickled_batch import read_pickled_batch
from ._source import AbstractSource, Folder, Pool, cache_folder

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
CLASSES = 10


class _Batch(NamedTuple):
    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class CifarForm:
    """One of the two published forms of the images.

    **Arguments:**

    - `archive`, `md5`: name of the archive, and its published checksum.
    - `folder`: the folder in the archive.
    - `suffix`: suffix of the batch file names.
    - `read`: parses the content of a batch file; its second argument is the name for errors.
    """

    archive: str
    md5: str
    folder: str
    suffix: str
    read: Callable[[bytes, str], _Batch]

    def files(self) -> tuple[str, ...]:
        """Lists the names of the batch files, with the test batch last."""
        names = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
        return tuple(name + self.suffix for name in names)

    def verify(self, content: bytes, *, where: str) -> None:
        """Raises `DataError` if the content is not that of the published archive."""
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest != self.md5:
            raise DataError(
                f"{where}: the MD5 is {digest}; expected {self.md5}: it is truncated or was "
                "changed; remove it or name another folder."
            )


@dataclass(frozen=True)
class CifarSource(AbstractSource):
    """CIFAR-10 in a folder, or downloaded into the cache.

    **Arguments:**

    - `forms`: the accepted forms, in order of preference; the first is the one to download.
    - `mirrors`: base addresses, ending in `/`, of the archives.
    - `count`: number of images in a batch.
    - `policy`: retries and timeouts of downloads.
    """

    forms: tuple[CifarForm, ...]
    mirrors: tuple[str, ...]
    count: int = 10_000
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)
    name: str = "cifar10"

    def is_at_hand(self, data_dir: Folder | None = None, cache_dir: Folder | None = None) -> bool:
        """Returns whether `read` would find files of CIFAR-10 without downloading them."""
        return any(
            (folder / form.archive).is_file()
            or any(
                (place / name).is_file()
                for place in (folder / form.folder, folder)
                for name in form.files()
            )
            for folder in self._folders(data_dir, cache_dir)
            for form in self.forms
        )

    def read(self, data_dir: Folder | None, cache_dir: Folder | None) -> Pool:
        form, contents, origin = self._contents(data_dir, cache_dir)
        batches = []
        for name, content in contents.items():
            batch = form.read(content, f"{origin}/{name}")
            if batch.pixels.shape != (self.count, _PIXELS) or len(batch.labels) != self.count:
                raise DataError(
                    f"{origin}/{name}: it holds {len(batch.labels)} labels and pixels of shape "
                    f"{batch.pixels.shape}; expected {self.count} images of {_PIXELS} bytes: get "
                    "it again, whole."
                )
            batches.append(batch)
        checksums = {
            name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
        }
        provenance = Provenance(
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
            licence="none stated (A. Krizhevsky, V. Nair and G. Hinton)",
            origin=origin,
            checksums=checksums,
        )

        def dataset(parts: list[_Batch]) -> Dataset:
            pixels = np.concatenate([batch.pixels for batch in parts])
            return Dataset(
                name=self.name,
                inputs=np.divide(pixels, 255, dtype=np.float32),
                targets=np.concatenate([batch.labels for batch in parts]).astype(np.int32),
                classes=CLASSES,
                shape=_SHAPE,
                provenance=provenance,
            )

        return Pool(learning=dataset(batches[:-1]), test=dataset(batches[-1:]))

    def _contents(
        self, data_dir: Folder | None, cache_dir: Folder | None
    ) -> tuple[CifarForm, dict[str, bytes], str]:
        """Reads the batches; returns their form, their contents by name, and their location."""
        folder, *others = folders = self._folders(data_dir, cache_dir)
        if others:
            for folder in folders:
                for form in self.forms:
                    batches = self._batches_in(folder, form)
                    if batches is not None:
                        return form, *batches
            given_by = "data_dir" if data_dir is not None else DATA_VARIABLE
            raise DataError(
                f"{given_by}={folders[-1]}: neither it nor its subfolder {self.name} holds "
                f"CIFAR-10; put {' or '.join(form.archive for form in self.forms)} there, or what "
                f"one unpacks to, or leave out {given_by} to have it downloaded."
            )
        form = self.forms[0]
        if not (folder / form.archive).is_file():
            self._download(form, folder)
        batches = self._batches_in(folder, form)
        assert batches is not None
        return form, *batches

    def _folders(self, data_dir: Folder | None, cache_dir: Folder | None) -> tuple[Path, ...]:
        """Returns where files are looked for: in two places of a given folder, or in the cache."""
        named = data_dir if data_dir is not None else os.environ.get(DATA_VARIABLE)
        if not named:
            return (cache_folder(cache_dir) / self.name,)
        root = Path(named).expanduser()
        return root / self.name, root

    def _batches_in(self, folder: Path, form: CifarForm) -> tuple[dict[str, bytes], str] | None:
        archive = folder / form.archive
        if archive.is_file():
            return self._unpacked(form, archive), str(archive)
        for place in (folder / form.folder, folder):
            present = [name for name in form.files() if (place / name).is_file()]
            if not present:
                continue
            missing = [name for name in form.files() if name not in present]
            if missing:
                raise DataError(
                    f"{place}: the batches {', '.join(missing)} of CIFAR-10 are missing; expected "
                    f"all of {', '.join(form.files())}: add them."
                )
            return {name: _read_bytes(place / name) for name in form.files()}, str(place)
        return None

    def _unpacked(self, form: CifarForm, path: Path) -> dict[str, bytes]:
        """Unpacks the batches of an archive in memory."""
        packed = _read_bytes(path)
        form.verify(packed, where=str(path))
        contents = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    file = archive.extractfile(member) if name in form.files() else None
                    if file is not None:
                        contents[name] = file.read()
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(
                f"{path}: it is not a tar.gz archive that can be read ({error}): get it again."
            ) from error
        if set(contents) != set(form.files()):
            raise DataError(
                f"{path}: it holds {len(contents)} of the {len(form.files())} batches of CIFAR-10: "
                "get it again from its authors."
            )
        return {name: contents[name] for name in form.files()}

    def _download(self, form: CifarForm, folder: Path) -> None:
        def check(content: bytes) -> None:
            form.verify(content, where=form.archive)

        download_into(
            folder,
            form.archive,
            self.mirrors,
            self.policy,
            check,
            of="CIFAR-10",
            instead=form.archive,
        )


def _read_bytes(path: Path) -> bytes:
    return read_content(
        path, "expected CIFAR-10's images: make it readable, or name another folder."
    )


def read_binary_batch(content: bytes, where: str) -> _Batch:
    """Parses a batch in the binary form."""
    if not content or len(content) % (1 + _PIXELS):
        raise DataError(
            f"{where}: it has {len(content)} bytes; expected a multiple of {1 + _PIXELS}, a label "
            "and its pixels for each image: it is truncated, get it again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return _Batch(rows[:, 1:], rows[:, 0])


def read_python_batch(content: bytes, where: str) -> _Batch:
    """Parses a batch in the Python form."""
    batch = read_pickled_batch(content, where=where)
    pixels, labels = batch.get("data"), batch.get("labels")
    if (
        not isinstance(pixels, np.ndarray)
        or not isinstance(labels, list)
        or not all(type(label) is int and 0 <= label < CLASSES for label in labels)
    ):
        raise DataError(
            f"{where}: it has the entries {', '.join(map(str, batch))}; expected an array `data` "
            f"and a list `labels` of whole numbers below {CLASSES}: give a batch of CIFAR-10."
        )
    return _Batch(pixels, np.array(labels, np.uint8))


CIFAR10 = CifarSource(
    forms=(
        CifarForm(
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            "cifar-10-batches-bin",
            ".bin",
            read_binary_batch,
        ),
        CifarForm(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "cifar-10-batches-py",
            "",
            read_python_batch,
        ),
    ),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)
"""CIFAR-10, 50 000 + 10 000 colour images of ten classes, of 3 × 32 × 32 pixels."""

CIFAR10_STANDARDISATION = Standardise(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
"""Mean and standard deviation of the pixels of the 50 000 training images, for red, green and
blue."""
