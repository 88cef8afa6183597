"""Rendering of plots: as SVG with the colours of the page, and as SVG and PNG files."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ._palette import IN_PAGE, ON_PAPER, VARIABLES, Palette
from ._plot import Plot
from ._plots import plots
from ._runs import ReportError, Run

# In inches; narrow, so that text stays legible on a phone.
SIZE = (4.8, 3.6)
PNG_DOTS = 200


@dataclasses.dataclass(frozen=True)
class Figure:
    """A rendered plot for the page, with its SVG as text.

    The other fields are those of `leastcontrol.report._plot.Plot`.
    """

    name: str
    section: str
    run: str | None
    title: str
    caption: str
    svg: str


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draws all plots of runs: curves, and the layers and samples of runs with that data.

    A curve has a line for each run, the mean over its seeds, and a thin one for each of several
    seeds.

    **Raises:** `ReportError` if Matplotlib is missing.
    """
    drawn = []
    for plot in plots(runs):
        with _drawn(plot, IN_PAGE) as drawing:
            text = _svg(drawing)
        svg = _inline(text, plot.name, f"{plot.title}. {plot.caption}", plot.hover)
        drawn.append(Figure(plot.name, plot.section, plot.run, plot.title, plot.caption, svg))
    return drawn


def figure_files(runs: Sequence[Run]) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of an SVG and a PNG file for each plot, on a white background.

    **Raises:** `ReportError` if Matplotlib is missing.
    """
    for plot in plots(runs):
        with _drawn(plot, ON_PAPER) as drawing:
            yield f"{plot.name}.svg", _svg(drawing).encode()
            buffer = io.BytesIO()
            drawing.savefig(buffer, format="png", dpi=PNG_DOTS, metadata={"Software": None})
            yield f"{plot.name}.png", buffer.getvalue()


@contextlib.contextmanager
def _drawn(plot: Plot, palette: Palette) -> Iterator[Any]:
    try:
        # Imported here because the import takes most of a second.
        import matplotlib
        from matplotlib.figure import Figure as Drawing
    except ModuleNotFoundError as error:
        raise ReportError(
            f"Figures need Matplotlib ({error}): run pip install 'leastcontrol[plot]'."
        ) from error
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "leastcontrol",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "font.size": 11,
        "figure.facecolor": palette.paper,
        "axes.facecolor": "none",
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "lines.linewidth": 2,
        "grid.color": palette.grid,
        "legend.frameon": False,
        "legend.fontsize": 10,
    }
    inks = ("text", "axes.label", "axes.edge", "axes.title", "xtick", "ytick")
    settings |= {f"{n}{'' if n.startswith('axes') else '.'}color": palette.ink for n in inks}
    with matplotlib.rc_context(settings):
        drawing = Drawing(figsize=SIZE, layout="constrained")
        plot.paint(drawing, palette)
        yield drawing


def _svg(drawing: Any) -> str:
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _inline(svg: str, name: str, description: str, hover: Sequence[str]) -> str:
    """Prepares an SVG for the page: adds titles, unique ids and the page's colours."""
    for number, words in enumerate(hover):
        for part in (f'<g id="run-{number}">', f'<g id="label-{number}">'):
            svg = svg.replace(part, f"{part}<title>{_escaped(words)}</title>")
    svg = svg[svg.index("<svg") :].strip()
    # A style element would apply to the whole page, whose style sheet already has its rule.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" aria-labelledby="{name}-title" '
    )
    title = f'<title id="{name}-title">{_escaped(description)}</title>'
    opening, rest = svg.removeprefix("<svg ").split(">", 1)
    return f"{head}{opening}>{title}{rest}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
