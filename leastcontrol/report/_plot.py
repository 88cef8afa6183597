"""What a plot is, and what all plots have in common: looks, axes and legends."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ._palette import Palette
from ._runs import Run

STYLES = ("-", "--", ":", "-.")
EPOCHS = "epoch"
LONGEST_NAME = 44
# Characters of a legend that fit beside each other, those that a mark takes, and inches of a row.
LEGEND_WIDTH = 54
LEGEND_MARK = 7
LEGEND_ROW = 0.2
# Avoids thin gaps between cells in browsers.
SEAMLESS = {"edgecolors": "face", "linewidth": 0.4}

# A Matplotlib figure; Matplotlib is imported only where it is used.
Drawing = Any
Paint = Callable[[Drawing, Palette], None]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot that can be drawn.

    * `name`: file name without a suffix.
    * `section`: section of the page: `curves`, `layers` or `sample`.
    * `run`: name of its run; `None` for a comparison of runs.
    * `title`, `caption`: short title, and a sentence that describes the plot.
    * `paint`: draws the plot on a Matplotlib figure.
    * `hover`: the words to be shown on hovering over the n-th line, `run-n`, and its `label-n`.
    """

    name: str
    section: str
    run: str | None
    title: str
    caption: str
    paint: Paint
    hover: tuple[str, ...] = ()


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def looks(palette: Palette) -> Any:
    """Cycles through the styles and colours of lines."""
    return itertools.cycle(itertools.product(STYLES, palette.series))


def name_epochs(axes: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(name)
    if name == EPOCHS:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def name_powers(axis: Any) -> None:
    """Labels a logarithmic axis with plain numbers, also between powers if these are few."""
    from matplotlib.ticker import FuncFormatter

    def between(value: float, _: Any) -> str:
        low, high = axis.get_view_interval()
        decades = math.log10(high / low)
        shown = decades < 0.5 or (decades < 1.5 and f"{value:e}"[0] in "25")
        return f"{value:g}" if shown else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(between))


def add_legend(drawing: Drawing, columns: int = 3) -> Any:
    """Adds a legend below, in as many columns as its labels leave room for, and makes room for it.

    The drawing grows with the rows of its legend, so that its axes keep their size.
    """
    _, labels = drawing.axes[0].get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    columns = max(1, min(columns, len(labels), LEGEND_WIDTH // (longest + LEGEND_MARK)))
    rows = -(-len(labels) // columns)
    width, height = drawing.get_size_inches()
    drawing.set_size_inches(width, height + LEGEND_ROW * max(0, rows - 1))
    return drawing.legend(loc="outside lower center", ncols=columns)


def with_name_of(title: str, run: Run) -> str:
    """Adds the name of the run to a title, on a second line and shortened if needed."""
    name = run.name if len(run.name) <= LONGEST_NAME else f"{run.name[: LONGEST_NAME - 1]}…"
    return f"{title}\n{name}"
