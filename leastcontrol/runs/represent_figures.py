"""The figures of implicit representations, as PNG files in the run folder.

* `reconstructions.png`: each picture, and its reconstruction by the network.
* `psnr.png`: the peak signal-to-noise ratio against the steps, on pixels outside the training set.
* `unfolding.png`: the outputs of the networks while their free dynamics converge.
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


def draw_representations(represented: Sequence[Represented], folder: RunFolder) -> None:
    """Draws all figures into a folder; each file is written whole or not at all."""
    # Imported here because the import takes half a second.
    import matplotlib

    # A dollar sign in the name of a file does not begin a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        for name, draw in (
            ("reconstructions", _reconstructions),
            ("psnr", _psnr),
            ("unfolding", _unfolding),
        ):
            content = io.BytesIO()
            draw(represented).savefig(content, format="png", dpi=150)
            folder.write(f"{name}.png", content.getvalue())


def _shown(panel: Any, pixels: np.ndarray, title: str) -> None:
    panel.imshow(np.clip(np.nan_to_num(pixels), 0, 1), interpolation="nearest")
    panel.set_title(title, fontsize="small")
    panel.set_axis_off()


def _reconstructions(represented: Sequence[Represented]) -> Any:
    # Imported here because the import takes half a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * len(represented), 4.4), layout="constrained")
    axes = figure.subplots(2, len(represented), squeeze=False)
    for each, (above, below) in zip(represented, axes.T, strict=True):
        _shown(above, each.picture.pixels, printable(each.picture.name))
        _shown(below, each.whole, f"{each.looks[-1].psnr_test:.2f} dB")
    return figure


def _psnr(represented: Sequence[Represented]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for each in represented:
        steps = [look.step for look in each.looks]
        ratios = [look.psnr_test for look in each.looks]
        panel.plot(steps, ratios, label=printable(each.picture.name))
    panel.set(xlabel="steps", ylabel="PSNR of pixels not trained on, dB")
    panel.legend(frameon=False, fontsize="small")
    return figure


def _unfolding(represented: Sequence[Represented]) -> Any:
    from matplotlib.figure import Figure

    columns = len(represented[0].unfolding_steps) + 1
    figure = Figure(figsize=(1.6 * columns, 1.9 * len(represented)), layout="constrained")
    axes = figure.subplots(len(represented), columns, squeeze=False)
    for each, row in zip(represented, axes, strict=True):
        for step, pixels, panel in zip(each.unfolding_steps, each.unfolding, row[:-1], strict=True):
            _shown(panel, pixels, f"step {step}")
        _shown(row[-1], each.whole, "at rest")
    return figure
