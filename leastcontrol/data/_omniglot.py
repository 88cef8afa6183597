"""Omniglot, handwritten characters of fifty alphabets, as its authors publish it.

It has two parts. Each is an archive, or the folder that the archive unpacks into, which contains a
PNG of 105×105 pixels for each drawing, named `ALPHABET/characterNN/XXXX_YY.png` with the number YY
of the drawer. An archive is known by its published MD5; a folder by the number of its characters
and drawings and by a checksum of all drawings. Either is verified before a drawing is decoded.

As in the meta-learning literature, the characters of both parts are pooled and split by class.
Drawings are reduced to 28×28 pixels and inverted to ink of 255 on 0.
"""

import hashlib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._characters import Characters
from ._content import read_content
from ._dataset import DataError, Provenance
from ._download import DATA_VARIABLE, DownloadPolicy, download_into
from ._source import Folder, cache_folder

_DRAWING = re.compile(r"([^/]+)/character(\d\d)/\d{4}_(\d\d)\.png")
# The larger of the two has 9.5 MB.
LARGEST_ARCHIVE = 2**25
# The largest drawing has 522 bytes.
LARGEST_DRAWING = 2**14
_ORIGINAL = (105, 105)
_SIZE = (28, 28)


class Drawing(NamedTuple):
    """A drawing: its character and drawer, and its PNG."""

    character: str
    drawer: str
    packed: bytes


@dataclass(frozen=True)
class OmniglotPart:
    """One of the two parts.

    **Arguments:**

    - `name`: of the folder; the archive is `name.zip`.
    - `md5`: published for the archive.
    - `sha256`: of an unpacked folder, as `drawings_checksum` computes it.
    - `characters`, `drawers`: how many characters a folder holds, and drawings of each.
    """

    name: str
    md5: str
    sha256: str
    characters: int
    drawers: int = 20

    @property
    def archive(self) -> str:
        """The file name of the archive."""
        return f"{self.name}.zip"

    def is_in(self, folder: Path) -> bool:
        """Returns whether a folder holds the archive, or the folder that it unpacks into."""
        return (folder / self.archive).is_file() or (folder / self.name).is_dir()

    def read(self, folder: Path) -> tuple[Path, list[Drawing], dict[str, str]]:
        """Reads and verifies the drawings, from the archive if it is there.

        Returns them with where they lie and with the checksum that they have.

        **Raises:** `DataError` for what is missing, damaged or not this part.
        """
        path = folder / self.archive
        if not path.is_file() and (folder / self.name).is_dir():
            path = folder / self.name
            return path, self._unpacked(path), {self.name: self.sha256}
        expected = f"expected an archive of Omniglot: put {self.archive} there."
        content = read_content(path, expected, LARGEST_ARCHIVE)
        # Verified before unpacking, which could grow a malicious file a thousand times.
        self.verify(content, where=str(path))
        return path, _members(content, where=str(path)), {self.archive: self.md5}

    def verify(self, content: bytes, *, where: str) -> None:
        """Raises `DataError` if the content is not that of the published archive."""
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest != self.md5:
            raise DataError(
                f"{where}: the MD5 is {digest}; expected {self.md5}: the archive is not "
                "Omniglot's, or was changed; remove it or name another folder."
            )

    def _unpacked(self, folder: Path) -> list[Drawing]:
        drawings = []
        counts: dict[str, int] = {}
        for path in sorted(folder.glob("*/character*/*.png")):
            match = _DRAWING.fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                raise DataError(
                    f"{path}: it is not named ALPHABET/characterNN/XXXX_YY.png; expected the "
                    f"drawings of Omniglot alone: unpack {self.archive} anew."
                )
            character = f"{match[1]}/character{match[2]}"
            counts[character] = counts.get(character, 0) + 1
            packed = read_content(path, "expected a drawing of Omniglot.", LARGEST_DRAWING)
            drawings.append(Drawing(character, match[3], packed))
        if len(counts) != self.characters:
            raise DataError(
                f"{folder}: it holds {len(counts)} characters; expected {self.characters} of "
                f"{self.drawers} drawings each: unpack {self.archive} anew."
            )
        for character, count in counts.items():
            if count != self.drawers:
                raise DataError(
                    f"{folder}: there are {count} drawings of {character}; expected "
                    f"{self.drawers}: unpack {self.archive} anew."
                )
        digest = drawings_checksum(drawings)
        if digest != self.sha256:
            raise DataError(
                f"{folder}: the SHA-256 of its drawings is {digest}; expected {self.sha256}: a "
                f"drawing was changed; unpack {self.archive} anew."
            )
        return drawings


def drawings_checksum(drawings: Iterable[Drawing]) -> str:
    """Computes the SHA-256 of the character, the drawer and the SHA-256 of every drawing."""
    total = hashlib.sha256()
    for drawing in sorted(drawings):
        total.update(f"{drawing.character}/{drawing.drawer}\0".encode())
        total.update(hashlib.sha256(drawing.packed).digest())
    return total.hexdigest()


@dataclass(frozen=True)
class OmniglotSource:
    """Omniglot as two parts in a folder, or downloaded into the cache.

    **Arguments:**

    - `parts`: the parts.
    - `mirrors`: base addresses, ending in `/`, of the archives.
    - `policy`: retries and timeouts of downloads.
    """

    parts: tuple[OmniglotPart, ...]
    mirrors: tuple[str, ...]
    policy: DownloadPolicy = field(default_factory=DownloadPolicy)

    def is_at_hand(self, data_dir: Folder | None = None, cache_dir: Folder | None = None) -> bool:
        """Returns whether `read` would find a part of Omniglot without downloading it."""
        return any(
            part.is_in(folder)
            for folder in self._folders(data_dir, cache_dir)
            for part in self.parts
        )

    def read(self, data_dir: Folder | None = None, cache_dir: Folder | None = None) -> Characters:
        """Reads all characters.

        **Arguments:**

        - `data_dir`: a folder that contains both archives, or the folders that they unpack into,
          directly or in a subfolder `omniglot` or `omniglot-py`; by default `$LEASTCONTROL_DATA`,
          or else the cache, into which archives are downloaded.
        - `cache_dir`: as for [`leastcontrol.data.load`][].

        **Raises:** `DataError` if a part is missing, damaged or not Omniglot's.
        """
        library = _library()
        folder = self._folder(data_dir, cache_dir)
        checksums: dict[str, str] = {}
        images: dict[str, dict[str, np.ndarray]] = {}
        for part in self.parts:
            path, drawings, checksum = part.read(folder)
            checksums |= checksum
            for drawing in drawings:
                small = _reduced(library, drawing, where=str(path))
                images.setdefault(drawing.character, {})[drawing.drawer] = small
        counts = {len(by_drawer) for by_drawer in images.values()}
        if len(counts) != 1:
            raise DataError(
                f"{folder}: its characters have {min(counts)} to {max(counts)} drawings; expected "
                "equally many of each: get the archives again."
            )
        stacked = [
            np.stack([by_drawer[drawer] for drawer in sorted(by_drawer)])
            for by_drawer in images.values()
        ]
        return Characters(
            np.stack(stacked),
            tuple(images),
            Provenance(
                source="https://github.com/brendenlake/omniglot",
                licence="MIT (B. Lake)",
                origin=str(folder),
                checksums=checksums,
            ),
        )

    def _names(self) -> str:
        return " and ".join(part.archive for part in self.parts)

    def _folders(self, data_dir: Folder | None, cache_dir: Folder | None) -> tuple[Path, ...]:
        """Returns where parts are looked for: three places of a given folder, or the cache."""
        named = data_dir if data_dir is not None else os.environ.get(DATA_VARIABLE)
        if not named:
            return (cache_folder(cache_dir) / "omniglot",)
        root = Path(named).expanduser()
        return root / "omniglot", root / "omniglot-py", root

    def _folder(self, data_dir: Folder | None, cache_dir: Folder | None) -> Path:
        folder, *others = folders = self._folders(data_dir, cache_dir)
        if others:
            for candidate in folders:
                if any(part.is_in(candidate) for part in self.parts):
                    return candidate
            given_by = "data_dir" if data_dir is not None else DATA_VARIABLE
            raise DataError(
                f"{given_by}={folders[-1]}: neither it nor its subfolder omniglot holds an archive "
                f"of Omniglot; put {self._names()} there, packed or unpacked, or leave the folder "
                "out to have them downloaded."
            )
        for part in self.parts:
            if not part.is_in(folder):
                self._download(part, folder)
        return folder

    def _download(self, part: OmniglotPart, folder: Path) -> None:
        def check(content: bytes) -> None:
            part.verify(content, where=part.archive)

        download_into(
            folder,
            part.archive,
            self.mirrors,
            self.policy,
            check,
            of="Omniglot",
            instead=self._names(),
        )


def _library() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"reading the drawings of Omniglot needs Pillow ({error}): write pip install "
            "'leastcontrol[plot]', or choose other tasks."
        ) from error
    return Image


def _reduced(library: Any, drawing: Drawing, *, where: str) -> np.ndarray:
    """Decodes a drawing by Pillow, and reduces and inverts it."""
    named = f"{where}: the drawing {drawing.drawer} of {drawing.character}"
    try:
        image = library.open(io.BytesIO(drawing.packed), formats=("PNG",))
        size = image.size
        image = image.convert("L") if size == _ORIGINAL else image
    except (
        *(OSError, ValueError, SyntaxError, EOFError, zlib.error),
        library.DecompressionBombError,
    ) as error:
        raise DataError(f"{named} is damaged ({error}): get the archive again.") from error
    if size != _ORIGINAL:
        raise DataError(
            f"{named} has {size[0]}×{size[1]} pixels; expected the 105×105 of Omniglot: get the "
            "archive again."
        )
    return 255 - np.asarray(image.resize(_SIZE, library.Resampling.BOX))


def _members(content: bytes, *, where: str) -> list[Drawing]:
    """Reads every drawing in an archive, in order."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            drawings = [
                Drawing(f"{match[1]}/character{match[2]}", match[3], archive.read(name))
                for name in sorted(archive.namelist())
                if (match := _DRAWING.fullmatch(name.partition("/")[2]))
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
    return drawings


OMNIGLOT = OmniglotSource(
    parts=(
        OmniglotPart(
            "images_background",
            "68d2efa1b9178cc56df9314c21c6e718",
            "604a8c3764a264ca1c14d1255534a981963359432d4bc2bc537aea3c8f1a2b1f",
            characters=964,
        ),
        OmniglotPart(
            "images_evaluation",
            "6b91aef0f799c5bb55b94e3f2daec811",
            "a91bc010ba6531ddd40e066bdb055b632da026db308cd62baf73e012d8f1ec3a",
            characters=659,
        ),
    ),
    mirrors=("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",),
)
"""Omniglot, 1 623 handwritten characters of 50 alphabets, 20 drawings of each."""
