"""Letters drawn from the fonts of Matplotlib, which need no download.

Twelve styles of DejaVu (sans, monospaced and serif, each upright and slanted, regular and bold)
share over a thousand letters. Letters with the same outline (Latin A, Greek Alpha, Cyrillic A) form
one class. Each letter is drawn twice in each style, with a small random rotation, shear, scaling
and shift, from a fixed seed.
"""

import hashlib
import math
import unicodedata
from pathlib import Path

import numpy as np

from ._characters import Characters
from ._dataset import DataError, Provenance

_STYLES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
)
_VARIANTS = 2
_SIZE = 28
# Size of an em in pixels at scale one, and largest extent of a letter in pixels.
_EM = 24.0
_LARGEST = 24.0
_SEED = 0


def read_glyphs(limit: int | None = None) -> Characters:
    """Draws the letters.

    **Arguments:** `limit`: number of letters, in the order of their code points; by default all.

    **Returns:** images of 28×28 pixels, 24 for each letter: twelve styles in two variants.

    **Raises:** `DataError` if Matplotlib or one of its fonts is missing, or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit={limit}: expected at least 1: write limit=100, or leave it out.")
    try:
        # Imported here because the import takes half a second and only this data needs it.
        import matplotlib
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.ft2font import FT2Font, LoadFlags
        from matplotlib.path import Path as Outline
        from matplotlib.transforms import Affine2D
    except ImportError as error:
        raise DataError(
            f"the glyphs are drawn from Matplotlib's fonts ({error}): write pip install "
            "'leastcontrol[plot]', or choose other tasks."
        ) from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [folder / f"{style}.ttf" for style in _STYLES]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{folder}: the fonts {', '.join(missing)} are missing; expected those that Matplotlib "
            "comes with: install it again with pip install --force-reinstall matplotlib."
        )
    fonts = [FT2Font(str(file)) for file in files]

    def outline(font: FT2Font, letter: str) -> tuple[np.ndarray, np.ndarray]:
        font.load_char(ord(letter), flags=LoadFlags.NO_SCALE)
        vertices, codes = font.get_path()
        # The path is in font units divided by 64.
        return vertices * (64 / font.units_per_EM), codes

    shared = set.intersection(*(set(font.get_charmap()) for font in fonts))
    letters: dict[bytes, str] = {}
    for code in sorted(shared):
        if unicodedata.category(chr(code)) in ("Lu", "Ll", "Lt", "Lo"):
            vertices, codes = outline(fonts[0], chr(code))
            if len(vertices):
                letters.setdefault(vertices.tobytes() + codes.tobytes(), chr(code))
    labels = tuple(letters.values())[:limit]
    samples = len(fonts) * _VARIANTS
    # NumPy guarantees the raw stream; with a limit, letters use its first numbers.
    raw = np.random.PCG64(_SEED).random_raw(len(labels) * samples * 6)
    draws = (raw / 2.0**63 - 1).reshape(len(labels), samples, 6)
    images = np.empty((len(labels), samples, _SIZE, _SIZE), np.uint8)
    renderer = RendererAgg(_SIZE, _SIZE, 72)
    pen = renderer.new_gc()
    pen.set_linewidth(0)
    for index, letter in enumerate(labels):
        for style, font in enumerate(fonts):
            vertices, codes = outline(font, letter)
            low, high = vertices.min(axis=0), vertices.max(axis=0)
            shape = Outline(vertices, codes)
            fitting = min(_EM, _LARGEST / max(*(high - low), 1e-9))
            for variant in range(_VARIANTS):
                draw = draws[index, style * _VARIANTS + variant]
                placed = (
                    Affine2D()
                    .translate(*(-(low + high) / 2))
                    .scale(fitting * (1 + 0.1 * draw[0]), fitting * (1 + 0.1 * draw[1]))
                    .skew(0.15 * draw[2], 0.0)
                    .rotate(math.radians(10) * draw[3])
                    .translate(_SIZE / 2 + 1.5 * draw[4], _SIZE / 2 + 1.5 * draw[5])
                )
                renderer.clear()
                renderer.draw_path(pen, shape, placed, (0.0, 0.0, 0.0, 1.0))
                ink = np.asarray(renderer.buffer_rgba())[..., 3]
                images[index, style * _VARIANTS + variant] = ink
    checksums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return Characters(
        images,
        labels,
        Provenance(
            source="https://dejavu-fonts.github.io",
            licence="Bitstream Vera licence, with the changes of DejaVu in the public domain",
            origin=f"Matplotlib {matplotlib.__version__}",
            checksums=checksums,
        ),
    )
