"""Saves figures as SVG files that follow the reader's light or dark colour scheme.

Matplotlib writes colours into every element. `save` replaces those of its default cycle, black,
white and the greys of the scripts by CSS variables, which one rule in the file sets for either
scheme. The file brings its own paper, so that it can be read on any page, whatever its scheme.
In both schemes the contrast of text to the paper is at least 4.5, that of lines 3 (WCAG 2.2).
"""

import io
import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parent
RESULTS = FIGURES.parents[1] / "results"

# The variables, and their colours in the light and in the dark scheme.
VARIABLES = {
    "paper": ("#ffffff", "#12181c"),
    "ink": ("#172126", "#e6edf0"),
    "muted": ("#57646b", "#9fb0b8"),
    "grid": ("#d5dde1", "#3a474e"),
    "series-1": ("#0b6b75", "#4fc3d0"),
    "series-2": ("#b4510a", "#f5a55b"),
    "series-3": ("#6a4fb3", "#b9a6f2"),
    "series-4": ("#a81e3c", "#ff8095"),
    "series-5": ("#3f6b1d", "#9ccf6b"),
    "series-6": ("#6f5300", "#e0bd4d"),
}
# What Matplotlib writes, and the variable that it becomes.
REPLACED = {
    "#ffffff": "paper",
    "#000000": "ink",
    "#333333": "ink",
    "#666666": "muted",
    "#bfbfbf": "grid",
    "#cccccc": "grid",
    "#d9d9d9": "grid",
    "#1f77b4": "series-1",
    "#ff7f0e": "series-2",
    "#2ca02c": "series-3",
    "#d62728": "series-4",
    "#9467bd": "series-5",
    "#8c564b": "series-6",
}
INK, MUTED, GRID = "#000000", "#666666", "#d9d9d9"
# Of the series, in the order of Matplotlib's cycle.
COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5")


def prepare(name: str, font_size: float = 9) -> None:
    """Sets what makes the file of a figure the same whenever it is drawn."""
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": name, "font.size": font_size, "path.snap": False})


def save(figure: Figure, name: str) -> None:
    """Writes a figure beside its script, with the colours of both schemes."""
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    (FIGURES / f"{name}.svg").write_text(themed(content.getvalue()), encoding="utf-8")


def themed(svg: str) -> str:
    """Returns the text of an SVG file with variables in the place of known colours."""
    pattern = re.compile("|".join(REPLACED), re.IGNORECASE)
    svg = pattern.sub(lambda match: f"var(--{REPLACED[match[0].lower()]})", svg)
    # Decimals beyond what is seen make half of a file.
    svg = re.sub(r' (d|x|y)="[^"]*"', lambda match: re.sub(r"(\.\d{2})\d+", r"\1", match[0]), svg)
    rules = (
        f"<style>svg{{{_properties(0)}fill:var(--ink)}}"
        f"@media(prefers-color-scheme:dark){{svg{{{_properties(1)}}}}}</style>"
    )
    head, end, rest = svg.partition("<defs>")
    return f"{head}{rules}\n {end}{rest}"


def _properties(scheme: int) -> str:
    return "".join(f"--{name}:{colours[scheme]};" for name, colours in VARIABLES.items())
