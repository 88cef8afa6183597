"""How a time grows with a size: the exponent of a power law, and its picture."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_whole


def growth_exponent(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """Returns p of t ∝ sizeᵖ and its standard error, by least squares of log t in log size.

    The fit counts all sizes alike. Where small sizes cost what a call costs at least, p lies below
    the exponent of the large ones. It is NaN for fewer than two sizes, its error for fewer than
    three.
    """
    if len(sizes) < 2:
        return math.nan, math.nan
    x, y = np.log(sizes), np.log(times)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    if len(sizes) < 3:
        return slope, math.nan
    left = y - y.mean() - slope * x
    return slope, math.sqrt(float(left @ left) / (len(x) - 2) / float(x @ x))


def plot_growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws milliseconds a step against size, one panel for each growth and a line for each rule.

    Bars are the quartiles; the exponent of each line stands in the legend.
    """
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row["case"], row["grown"]) for row in rows))
    figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (case, grown), panel in zip(panels, axes, strict=True):
        own = [row for row in rows if (row["case"], row["grown"]) == (case, grown)]
        for rule in dict.fromkeys(row["rule"] for row in own):
            curve = [row for row in own if row["rule"] == rule]
            times = np.array([row["ms"] for row in curve])
            quartiles = np.array([row["ms_quartiles"] for row in curve]).T
            panel.errorbar(
                [row["size"] for row in curve],
                times,
                yerr=[times - quartiles[0], quartiles[1] - times],
                marker="o",
                markersize=3,
                label=f"{rule}: p = {curve[0]['exponent']:.2f}",
            )
        panel.set(title=case, xlabel=grown, ylabel="ms a step", xscale="log", yscale="log")
        panel.legend(frameon=False, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."))
    write_whole(path, content.getvalue())
