"""The growth of a time with a size: the exponent of a power law, and its plot."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def growth_exponent(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """Fits t ∝ sizeᵖ by least squares of log t in log size; returns p and its standard error.

    The fit weights all sizes equally. The time of small sizes is dominated by the overhead of a
    call; then p lies below the exponent of large sizes. p is NaN for fewer than two sizes, and its
    error for fewer than three.
    """
    if len(sizes) < 2:
        return math.nan, math.nan
    x, y = np.log(sizes), np.log(times)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    if len(sizes) < 3:
        return slope, math.nan
    residual = y - y.mean() - slope * x
    return slope, math.sqrt(float(residual @ residual) / (len(x) - 2) / float(x @ x))


def plot_growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the plot of milliseconds per step against size to a file."""
    content = io.BytesIO()
    growth_figure(rows).savefig(content, format=path.suffix.removeprefix("."))
    write_whole(path, content.getvalue())


def growth_figure(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Plots milliseconds per step against size, with a panel for each growth and a line per rule.

    Bars are the quartiles; the legend gives the exponent of each line.
    """
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row["case"], row["grown"]) for row in rows))
    columns = min(len(panels), 3)
    rows_of_panels = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.6 * rows_of_panels), layout="constrained")
    axes = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    for unused in axes[len(panels) :]:
        unused.remove()
    for (case, grown), panel in zip(panels, axes, strict=False):
        shown = [row for row in rows if (row["case"], row["grown"]) == (case, grown)]
        for rule in dict.fromkeys(row["rule"] for row in shown):
            curve = [row for row in shown if row["rule"] == rule]
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
    return figure
