"""Pictures for implicit representations: built-in natural and text images, or any image file.

The natural images are squares cut from the two photographs of scikit-learn. The text images are
words drawn in Matplotlib's fonts, with colours and positions from a fixed seed. A picture is scaled
to a square of a given size. Its pixels are split as in arXiv 2207.01332, section S4 (after Tancik
et al. 2020): the training pixels are every second pixel of every second row, a quarter of all, and
the test pixels are those diagonally between them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import FileError
from ..files.images import LARGEST_IMAGE, parse_image
from ._content import read_content
from ._dataset import DataError, Provenance

SMALLEST = 4
_NATURAL = (("china.jpg", 0.0), ("china.jpg", 1.0), ("flower.jpg", 0.0), ("flower.jpg", 1.0))
_AUTHORS = {"china.jpg": "danielbuechele", "flower.jpg": "vultilion"}
_WORDS = "least control rest point state output leak drive node layer weight noise phase".split()
_TEXTS = 4
_TEXT_SIZE = 512
# Prefix of image file names on the command line.
FILE = "image:"


@dataclass(frozen=True, eq=False)
class Picture:
    """A square picture.

    **Arguments:**

    - `name`: such as `natural-1`.
    - `pixels`: float32 of shape `(size, size, channels)`, from 0 to 1.
    - `provenance`: the origin of the picture.

    **Raises:** `DataError` if it is not square, or its side is odd or below 4 pixels.
    """

    name: str
    pixels: np.ndarray
    provenance: Provenance

    def __post_init__(self):
        rows, columns, _ = self.pixels.shape
        if rows != columns or rows < SMALLEST or rows % 2:
            raise DataError(
                f"{self.name}: {rows}×{columns} pixels; expected a square of an even number of at "
                f"least {SMALLEST} pixels."
            )

    @property
    def size(self) -> int:
        """Side length in pixels."""
        return len(self.pixels)

    def part(self, offset: int) -> tuple[np.ndarray, np.ndarray]:
        """Selects the training or test pixels, with their coordinates and colours.

        **Arguments:** `offset`: 0 for training pixels, 1 for test pixels.

        **Returns:** float32 of shape `(pixels, 2)`, row and column as fractions of the picture, and
        float32 of shape `(pixels, channels)`.
        """
        indices = np.arange(offset, self.size, 2)
        rows, columns = np.meshgrid(indices, indices, indexing="ij")
        places = np.stack([rows, columns], axis=-1).reshape(-1, 2) / self.size
        colours = self.pixels[offset::2, offset::2].reshape(len(places), -1)
        return places.astype(np.float32), colours


def picture_names() -> tuple[str, ...]:
    """Lists the names of the built-in pictures."""
    natural = tuple(f"natural-{number + 1}" for number in range(len(_NATURAL)))
    return natural + tuple(f"text-{number + 1}" for number in range(_TEXTS))


def read_picture(name: str, *, size: int) -> Picture:
    """Reads a picture, cuts out its central square and scales it.

    **Arguments:**

    - `name`: one of [`leastcontrol.data.picture_names`][], or `image:FILE` for a file that Pillow
      reads, such as a PNG.
    - `size`: side length in pixels, even.

    **Raises:** `DataError` if the name is unknown, the file is unreadable or smaller than `size`,
    or a required package is missing.
    """
    if size < SMALLEST or size % 2:
        raise DataError(f"size={size}: expected an even number of at least {SMALLEST} pixels.")
    image_module = _pillow()
    if name.startswith(FILE):
        image, provenance = _from_file(Path(name.removeprefix(FILE)).expanduser(), image_module)
    elif name in picture_names():
        kind, number = name.split("-")
        make: Callable[[int, Any], tuple[Any, Provenance]] = (
            _natural if kind == "natural" else _text
        )
        image, provenance = make(int(number) - 1, image_module)
    else:
        raise DataError(
            f"no picture is called {name!r}: expected one of {', '.join(picture_names())}, or "
            f"{FILE}FILE."
        )
    side = min(image.size)
    if side < size:
        raise DataError(
            f"{name}: the image has {image.size[0]}×{image.size[1]} pixels, fewer than {size} of a "
            f"side: choose a larger image, or a size of {max(side - side % 2, SMALLEST)}."
        )
    left, top = ((extent - side) // 2 for extent in image.size)
    square = image.crop((left, top, left + side, top + side))
    small = square.resize((size, size), image_module.Resampling.BOX)
    return Picture(name, np.divide(np.asarray(small), 255, dtype=np.float32), provenance)


def _pillow() -> Any:
    try:
        # Imported here because only pictures need it.
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"reading pictures needs Pillow ({error}): write pip install 'leastcontrol[train]'."
        ) from error
    return Image


def _from_file(path: Path, image_module: Any) -> tuple[Any, Provenance]:
    content = read_content(path, "expected an image.", LARGEST_IMAGE)
    try:
        shares = parse_image(content, path, colours=True)
    except FileError as error:
        raise DataError(str(error)) from error
    image = image_module.fromarray(np.round(255 * shares).astype(np.uint8))
    checksums = {path.name: hashlib.sha256(content).hexdigest()}
    return image, Provenance("", "that of the file", str(path), checksums)


def _natural(number: int, image_module: Any) -> tuple[Any, Provenance]:
    try:
        import sklearn
        from sklearn.datasets import load_sample_image
    except ModuleNotFoundError as error:
        raise DataError(
            f"the natural images come with scikit-learn ({error}): write pip install "
            "'leastcontrol[train]', or choose a text image."
        ) from error
    name, share = _NATURAL[number]
    pixels = load_sample_image(name)
    rows, columns, _ = pixels.shape
    first = round(share * (columns - rows))
    square = np.ascontiguousarray(pixels[:, first : first + rows])
    provenance = Provenance(
        source="https://scikit-learn.org/stable/datasets/loading_other_datasets.html",
        licence=f"CC BY 2.0 ({_AUTHORS[name]})",
        origin=f"scikit-learn {sklearn.__version__}",
        checksums={name: hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()},
    )
    return image_module.fromarray(square), provenance


def _text(number: int, image_module: Any) -> tuple[Any, Provenance]:
    try:
        import matplotlib
        from PIL import ImageDraw, ImageFont
    except ImportError as error:
        raise DataError(
            f"the text images are drawn in Matplotlib's fonts ({error}): write pip install "
            "'leastcontrol[plot]', or choose a natural image."
        ) from error
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    if not path.is_file():
        raise DataError(
            f"{path}: the font is missing; expected the one that Matplotlib comes with: install it "
            "again with pip install --force-reinstall matplotlib."
        )
    # NumPy guarantees the raw stream.
    draws = iter(np.random.PCG64(number).random_raw(200) / 2.0**64)
    colour = lambda: tuple(int(256 * next(draws)) for _ in range(3))  # noqa: E731
    image = image_module.new("RGB", (_TEXT_SIZE, _TEXT_SIZE), colour())
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        font = ImageFont.truetype(str(path), 28 + int(60 * next(draws)))
        word = _WORDS[int(len(_WORDS) * next(draws))]
        place = (_TEXT_SIZE * (1.1 * next(draws) - 0.2), _TEXT_SIZE * (1.1 * next(draws) - 0.1))
        pen.text(place, word, fill=colour(), font=font)
    provenance = Provenance(
        source="https://dejavu-fonts.github.io",
        licence="Bitstream Vera licence, with the changes of DejaVu in the public domain",
        origin=f"Matplotlib {matplotlib.__version__}",
        checksums={path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    return image, provenance
