"""The colours of the page and its plots, for light and dark themes.

In both themes the contrast to the background is at least 4.5 for text and 3 for lines (WCAG 2.2).
"""

import dataclasses

SERIES = 6


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colours of a plot: background, text and axes, grid, and lines."""

    paper: str
    ink: str
    grid: str
    series: tuple[str, ...]


LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f7fa",
    "line": "#d8dee4",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "grid": "#d8dee4",
    "focus": "#0550ae",
    "series-1": "#0550ae",
    "series-2": "#bc4c00",
    "series-3": "#116329",
    "series-4": "#8250df",
    "series-5": "#a40e26",
    "series-6": "#6f5300",
}
DARK = {
    "paper": "#0d1117",
    "panel": "#161b22",
    "line": "#30363d",
    "ink": "#e6edf3",
    "muted": "#9da7b3",
    "grid": "#30363d",
    "focus": "#79c0ff",
    "series-1": "#79c0ff",
    "series-2": "#ffa657",
    "series-3": "#7ee787",
    "series-4": "#d2a8ff",
    "series-5": "#ff7b72",
    "series-6": "#e3b341",
}

ON_PAPER = Palette(
    LIGHT["paper"],
    LIGHT["ink"],
    LIGHT["grid"],
    tuple(LIGHT[f"series-{n}"] for n in range(1, SERIES + 1)),
)
# Placeholder colours in Matplotlib's SVG, and the CSS variables that replace them.
IN_PAGE = Palette(
    "none", "#010101", "#020202", tuple(f"#0300{n:02x}" for n in range(1, SERIES + 1))
)
VARIABLES = {
    IN_PAGE.ink: "ink",
    IN_PAGE.grid: "grid",
    **{colour: f"series-{n}" for n, colour in enumerate(IN_PAGE.series, 1)},
}


def properties(colours: dict[str, str]) -> str:
    """Formats colours as CSS custom properties."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
