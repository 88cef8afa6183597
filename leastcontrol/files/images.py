"""Reading of images, with brightness scaled to [0, 1].

The mode of an image determines the scale: integers of 8 or 16 bits are divided by the largest
value, and real numbers are taken as they are. Ambiguous images (several frames, transparent pixels,
real numbers outside [0, 1]) are errors.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ._reading import FileError, read_bytes

MOST_PIXELS = 2**25
"""Largest number of pixels of an image; it is checked before decoding."""
LARGEST_IMAGE = 2**27
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: Path, *, colours: bool) -> Float32[np.ndarray, "rows columns ..."]:
    """Reads an image of shape (rows, columns), or (rows, columns, 3) with `colours`, in [0, 1].

    **Raises:** `FileNotFoundError` or `NotADirectoryError` if there is no such file; `FileError` if
    it cannot be read, and as `parse_image`.
    """
    return parse_image(read_bytes(path, LARGEST_IMAGE), path, colours=colours)


def parse_image(
    content: bytes, path: Path, *, colours: bool
) -> Float32[np.ndarray, "rows columns ..."]:
    """Decodes an image as `read_image` does; `path` is for error messages.

    **Raises:** `FileError` if the content is not an image, is too large, or is ambiguous.
    """
    try:
        # Imported here because only images need it.
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise FileError(
            f"{path} is an image, and images need Pillow ({error}): run pip install pillow."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(content)) as image:
                columns, rows = image.size
                if columns * rows > MOST_PIXELS:
                    raise FileError(
                        f"{path} has {columns}×{rows} pixels, but at most {MOST_PIXELS} are "
                        "decoded: make it smaller first."
                    )
                frames = getattr(image, "n_frames", 1)
                if frames > 1:
                    raise FileError(
                        f"{path} has {frames} frames, but one picture is expected: save one "
                        "frame as a separate file."
                    )
                return _shares(image, path, colours)
    except FileError:
        raise
    except UnidentifiedImageError as error:
        raise FileError(f"{path} cannot be read as an image: its format is unknown.") from error
    except Exception as error:
        raise FileError(f"{path} cannot be read as an image ({error}).") from error


def _shares(image, path: Path, colours: bool) -> np.ndarray:
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            raise FileError(
                f"{path} has transparent pixels, and what shows behind them is not known: save it "
                "without transparency."
            )
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise FileError(
                f"{path} has whole numbers from {values.min():g} to {values.max():g}, but those of "
                "16 bits are expected, from 0 to 65535: save it with 8 or 16 bits."
            )
        return _as_colours(values / 65535, colours)
    if image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise FileError(
                f"{path} has real numbers from {values.min():g} to {values.max():g}, but shares of "
                "full brightness are expected, from 0 to 1: divide them by the value of a full "
                "pixel."
            )
        return _as_colours(values, colours)
    converted = image.convert("RGB" if colours else "L")
    return (np.asarray(converted, np.float64) / 255).astype(np.float32)


def _as_colours(values: np.ndarray, colours: bool) -> np.ndarray:
    values = values.astype(np.float32)
    return np.repeat(values[..., None], 3, axis=-1) if colours else values
