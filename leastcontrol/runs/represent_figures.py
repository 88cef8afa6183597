"""The figures of implicit representations, as PNG files beside the run.

* `reconstructions.png`: every picture, and what its network makes of it.
* `psnr.png`: the peak signal-to-noise ratio over the steps, on the pixels that were not trained on.
* `unfolding.png`: what the network shows while its free dynamics come to rest.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._names import printable
from ..training import RunFolder

if TYPE_CHECKING:
    from .represent import Represented


def draw_representations(found: Sequence[Represented], folder: RunFolder) -> None:
    """Draws all figures into a folder, each whole or not at all."""
    # Imported here because it takes half a second.
    import matplotlib

    # The name of a file is no mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        for name, draw in (
            ("reconstructions", _reconstructions),
            ("psnr", _psnr),
            ("unfolding", _unfolding),
        ):
            content = io.BytesIO()
            draw(found).savefig(content, format="png", dpi=150)
            folder.write(f"{name}.png", content.getvalue())


def _shown(panel: Any, pixels: np.ndarray, title: str) -> None:
    panel.imshow(np.clip(np.nan_to_num(pixels), 0, 1), interpolation="nearest")
    panel.set_title(title, fontsize="small")
    panel.set_axis_off()


def _reconstructions(found: Sequence[Represented]) -> Any:
    # Imported here because it takes half a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * len(found), 4.4), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False)
    for own, (above, below) in zip(found, axes.T, strict=True):
        _shown(above, own.picture.pixels, printable(own.picture.name))
        _shown(below, own.whole, f"{own.looks[-1].psnr_test:.2f} dB")
    return figure


def _psnr(found: Sequence[Represented]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for own in found:
        steps = [look.step for look in own.looks]
        panel.plot(steps, [look.psnr_test for look in own.looks], label=printable(own.picture.name))
    panel.set(xlabel="steps", ylabel="PSNR of pixels not trained on, dB")
    panel.legend(frameon=False, fontsize="small")
    return figure


def _unfolding(found: Sequence[Represented]) -> Any:
    from matplotlib.figure import Figure

    columns = len(found[0].unfolding_steps) + 1
    figure = Figure(figsize=(1.6 * columns, 1.9 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), columns, squeeze=False)
    for own, row in zip(found, axes, strict=True):
        for step, pixels, panel in zip(own.unfolding_steps, own.unfolding, row[:-1], strict=True):
            _shown(panel, pixels, f"step {step}")
        _shown(row[-1], own.whole, "at rest")
    return figure
