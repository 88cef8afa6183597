"""Images, as shares of full brightness.

What an image means is in its mode: whole numbers of 8 or 16 bits are shares of the largest one,
real numbers are shares already. What has no one meaning as a picture (several frames, transparent
pixels, real numbers outside of [0, 1]) is refused and not guessed.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ._reading import FileError, read_bytes

MOST_PIXELS = 2**25
"""Pixels of the largest image that is decoded; its size is looked at before."""
LARGEST_IMAGE = 2**27
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: Path, *, colours: bool) -> Float32[np.ndarray, "rows columns ..."]:
    """Returns an image of shape (rows, columns), or (rows, columns, 3) with `colours`, in [0, 1].

    **Raises:** `FileNotFoundError` or `NotADirectoryError` where there is none; `FileError` as
    `parse_image`, and where it cannot be read.
    """
    return parse_image(read_bytes(path, LARGEST_IMAGE), path, colours=colours)


def parse_image(
    content: bytes, path: Path, *, colours: bool
) -> Float32[np.ndarray, "rows columns ..."]:
    """Returns the image in the content of a file, as `read_image`; `path` names it in errors.

    **Raises:** `FileError` for what is no image, is too large, or has no one meaning as a picture.
    """
    try:
        # Imported here because it is needed for images only.
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
                        f"{path} has {frames} frames, but one picture is expected: save "
                        "the one that is meant by itself."
                    )
                return _shares(image, path, colours)
    except FileError:
        raise
    except UnidentifiedImageError as error:
        raise FileError(f"{path} cannot be read as an image: it is of no known format.") from error
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
