"""Omniglot, handwritten characters of fifty alphabets, from the archives of its authors.

The two archives contain a PNG of 105×105 pixels for each drawing, named
`ALPHABET/characterNN/XXXX_YY.png` with the number YY of the drawer, in a folder with the name of
the archive. As in the meta-learning literature, the characters of both archives are pooled and
split by class. Drawings are reduced to 28×28 pixels and inverted to ink of 255 on 0.
"""

import hashlib
import io
import os
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ._characters import Characters
from ._content import read_content
from ._dataset import DataError, Provenance
from ._download import DATA_VARIABLE, DownloadPolicy, download_into
from ._source import Folder, cache_folder

_DRAWING = re.compile(r"[^/]+/([^/]+)/character(\d\d)/\d{4}_(\d\d)\.png")
# The larger of the two has 9.5 MB.
LARGEST_ARCHIVE = 2**25
_ORIGINAL = (105, 105)
_SIZE = (28, 28)


@dataclass(frozen=True)
class OmniglotArchive:
    """One archive: its file `name` and its published `md5`."""

    name: str
    md5: str

    def verify(self, content: bytes, *, where: str) -> None:
        """Raises `DataError` if the content is not that of the published archive."""
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest != self.md5:
            raise DataError(
                f"{where}: the MD5 is {digest}; expected {self.md5}: the archive is not "
                "Omniglot's, or was changed; remove it or name another folder."
            )


@dataclass(frozen=True)
class OmniglotSource:
    """Omniglot as two archives in a folder, or downloaded into the cache.

    **Arguments:**

    - `archives`: the archives.
    - `mirrors`: base addresses, ending in `/`, of the archives.
    - `policy`: retries and timeouts of downloads.
    """

    archives: tuple[OmniglotArchive, ...]
    mirrors: tuple[str, ...]
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)

    def read(self, data_dir: Folder | None = None, cache_dir: Folder | None = None) -> Characters:
        """Reads all characters.

        **Arguments:**

        - `data_dir`: a folder that contains the archives, directly or in a subfolder `omniglot`; by
          default `$LEASTCONTROL_DATA`, or else the cache, into which archives are downloaded.
        - `cache_dir`: as for [`leastcontrol.data.load`][].

        **Raises:** `DataError` if an archive is missing, damaged or not Omniglot's.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise DataError(
                f"reading the drawings of Omniglot needs Pillow ({error}): write pip install "
                "'leastcontrol[plot]', or choose other tasks."
            ) from error
        folder = self._folder(data_dir, cache_dir)
        drawings: dict[str, dict[str, np.ndarray]] = {}
        for archive in self.archives:
            path = folder / archive.name
            expected = f"expected an archive of Omniglot: put {self._names()} there."
            content = read_content(path, expected, LARGEST_ARCHIVE)
            # Verified before unpacking, which could grow a malicious file a thousand times.
            archive.verify(content, where=str(path))
            for character, drawer, packed in _members(content, where=str(path)):
                try:
                    image = Image.open(io.BytesIO(packed), formats=("PNG",))
                    size = image.size
                    image = image.convert("L") if size == _ORIGINAL else image
                except (
                    *(OSError, ValueError, SyntaxError, EOFError, zlib.error),
                    Image.DecompressionBombError,
                ) as error:
                    raise DataError(
                        f"{path}: the drawing {drawer} of {character} is damaged ({error}): get "
                        "the archive again."
                    ) from error
                if image.size != _ORIGINAL:
                    raise DataError(
                        f"{path}: the drawing {drawer} of {character} has {image.size[0]}×"
                        f"{image.size[1]} pixels; expected the 105×105 of Omniglot: get the "
                        "archive again."
                    )
                small = np.asarray(image.resize(_SIZE, Image.Resampling.BOX))
                drawings.setdefault(character, {})[drawer] = 255 - small
        counts = {len(by_drawer) for by_drawer in drawings.values()}
        if len(counts) != 1:
            raise DataError(
                f"{folder}: its characters have {min(counts)} to {max(counts)} drawings; expected "
                "equally many of each: get the archives again."
            )
        images = np.stack(
            [
                np.stack([by_drawer[drawer] for drawer in sorted(by_drawer)])
                for by_drawer in drawings.values()
            ]
        )
        return Characters(
            images,
            tuple(drawings),
            Provenance(
                source="https://github.com/brendenlake/omniglot",
                licence="MIT (B. Lake)",
                origin=str(folder),
                checksums={archive.name: archive.md5 for archive in self.archives},
            ),
        )

    def _names(self) -> str:
        return " and ".join(archive.name for archive in self.archives)

    def _folder(self, data_dir: Folder | None, cache_dir: Folder | None) -> Path:
        named = data_dir if data_dir is not None else os.environ.get(DATA_VARIABLE)
        if named:
            root = Path(named).expanduser()
            for candidate in (root / "omniglot", root):
                if any((candidate / archive.name).is_file() for archive in self.archives):
                    return candidate
            given_by = "data_dir" if data_dir is not None else DATA_VARIABLE
            raise DataError(
                f"{given_by}={root}: neither it nor its subfolder omniglot holds an archive of "
                f"Omniglot; put {self._names()} there, or leave the folder out to have them "
                "downloaded."
            )
        folder = cache_folder(cache_dir) / "omniglot"
        for archive in self.archives:
            if not (folder / archive.name).is_file():
                self._download(archive, folder)
        return folder

    def _download(self, archive: OmniglotArchive, folder: Path) -> None:
        def check(content: bytes) -> None:
            archive.verify(content, where=archive.name)

        download_into(
            folder,
            archive.name,
            self.mirrors,
            self.policy,
            check,
            of="Omniglot",
            instead=self._names(),
        )


def _members(content: bytes, *, where: str) -> list[tuple[str, str, bytes]]:
    """Reads character, drawer and PNG of every drawing in an archive, in order."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            drawings = [
                (match, archive.read(name))
                for name in sorted(archive.namelist())
                if (match := _DRAWING.fullmatch(name))
            ]
    except (
        *(zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError),
        *(EOFError, ValueError, zlib.error),
    ) as error:
        raise DataError(
            f"{where}: it is not a ZIP archive that can be read ({error}); expected Omniglot's: "
            "get it again."
        ) from error
    if not drawings:
        raise DataError(
            f"{where}: it holds no drawing ALPHABET/characterNN/XXXX_YY.png; expected an archive "
            "of Omniglot: name the folder of images_background.zip and images_evaluation.zip."
        )
    return [(f"{match[1]}/character{match[2]}", match[3], packed) for match, packed in drawings]


OMNIGLOT = OmniglotSource(
    archives=(
        OmniglotArchive("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
        OmniglotArchive("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
    ),
    mirrors=("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",),
)
"""Omniglot, 1 623 handwritten characters of 50 alphabets, 20 drawings of each."""
