"""The curves of runs, drawn by Matplotlib as SVG whose colours the page decides."""

import dataclasses
import io
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from ._runs import ReportError, Run

SERIES = 6
# Colours that Matplotlib writes into the SVG, and the names that take their place.
INK, GRID = "#010101", "#020202"
COLOURS = tuple(f"#0300{number:02x}" for number in range(1, SERIES + 1))
NAMES = {INK: "ink", GRID: "grid", **{c: f"series-{n}" for n, c in enumerate(COLOURS, 1)}}
STYLES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing: its name, its title, what it says in a sentence, and its SVG as text."""

    name: str
    title: str
    caption: str
    svg: str


@dataclasses.dataclass(frozen=True)
class _Plot:
    name: str
    title: str
    caption: str
    across: str
    up: str
    figure: str
    scale: float = 1.0
    logarithmic: bool = False
    against_time: bool = False


EPOCHS = "epoch"
PLOTS = (
    _Plot(
        "loss",
        "Training loss",
        "Mean loss at the rest points that the rule learned from.",
        EPOCHS,
        "loss, nats",
        "loss",
        logarithmic=True,
    ),
    _Plot(
        "accuracy",
        "Validation accuracy",
        "Share of validation samples classified rightly at the free equilibrium.",
        EPOCHS,
        "accuracy, %",
        "accuracy",
        100.0,
    ),
    _Plot(
        "accuracy-time",
        "Validation accuracy against time",
        "The same against the wall time of training, without compilation and evaluation.",
        "wall time, s",
        "accuracy, %",
        "accuracy",
        100.0,
        against_time=True,
    ),
    _Plot(
        "control",
        "Energy of control",
        "Mean norm of the control ‖(ψ, u)‖ that the samples needed; zero without control.",
        EPOCHS,
        "‖(ψ, u)‖, units of the state",
        "control_norm",
    ),
    _Plot(
        "converged",
        "Solved samples",
        "Share of solves, of one sample in one step, whose equilibrium was found.",
        EPOCHS,
        "solved, %",
        "converged_fraction",
        100.0,
    ),
    _Plot(
        "residual",
        "Largest residual",
        "The largest residual of a solved sample, as a multiple of the tolerance: at most 1.",
        EPOCHS,
        "residual / tolerance",
        "residual_max",
    ),
    _Plot(
        "steps",
        "Steps of a solve",
        "Mean number of iterations that a sample's solve took.",
        EPOCHS,
        "steps a solve",
        "steps_mean",
    ),
)


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Returns the curves of runs: a line for each, the mean over its seeds, with their range.

    **Raises:** `ReportError` where Matplotlib is missing.
    """
    try:
        # Imported here because it takes most of a second.
        import matplotlib
        from matplotlib.figure import Figure as Drawing
        from matplotlib.ticker import LogFormatter, MaxNLocator
    except ModuleNotFoundError as error:
        raise ReportError(
            f"Figures need Matplotlib ({error}): run pip install 'leastcontrol[plot]'."
        ) from error
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "leastcontrol",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "legend.frameon": False,
    }
    inks = ("text", "axes.label", "axes.edge", "axes.title", "xtick", "ytick")
    settings |= {f"{name}{'' if name.startswith('axes') else '.'}color": INK for name in inks}
    drawn = []
    with matplotlib.rc_context(settings):
        for plot in PLOTS:
            drawing = Drawing(figsize=(6.4, 3.8), layout="constrained")
            axes = drawing.add_subplot()
            if plot.logarithmic:
                axes.set_yscale("log", nonpositive="mask")
                # Plain numbers; those in between only where there are few others.
                axes.yaxis.set_major_formatter(LogFormatter())
                axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
            if not plot.against_time:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            styles = itertools.cycle(itertools.product(STYLES, COLOURS))
            for run, (style, colour) in zip(runs, styles, strict=False):
                across, low, mean, high = curve(run, plot.figure, plot.against_time)
                scaled = [[plot.scale * own for own in values] for values in (low, mean, high)]
                seeds = len(run.trials)
                label = run.name if seeds == 1 else f"{run.name} ({seeds} seeds)"
                marker = "o" if len(across) == 1 else None
                axes.plot(across, scaled[1], style, color=colour, label=label, marker=marker)
                if seeds > 1:
                    axes.fill_between(
                        across, scaled[0], scaled[2], color=colour, alpha=0.15, linewidth=0
                    )
            axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
            drawing.legend(loc="outside lower center", ncols=2)
            buffer = io.StringIO()
            drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
            svg = _inline(buffer.getvalue(), plot.name, f"{plot.title}. {plot.caption}")
            drawn.append(Figure(plot.name, plot.title, plot.caption, svg))
    return drawn


def curve(
    run: Run, figure: str, against_time: bool = False
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Returns the axis, and least value, mean and largest of a figure over a run's seeds.

    An epoch counts where every seed has it; its time is the mean over the seeds of the seconds that
    training took so far.
    """
    lengths = [len(own.epochs["epoch"]) for own in run.trials]
    count = min(lengths, default=0)
    columns = list(zip(*(own.epochs[figure][:count] for own in run.trials), strict=True))
    if against_time:
        times = [itertools.accumulate(own.epochs["seconds"][:count]) for own in run.trials]
        across = [math.fsum(own) / len(own) for own in zip(*times, strict=True)]
    else:
        across = run.trials[0].epochs["epoch"][:count] if run.trials else []
    low, mean, high = ([of(own) for own in columns] for of in (min, _mean, max))
    return across, low, mean, high


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _inline(svg: str, name: str, description: str) -> str:
    """Returns an SVG to stand in a page: named, with ids of its own and the page's colours."""
    svg = svg[svg.index("<svg") :].strip()
    # A style in a drawing would hold for the whole page, which has the same rule for drawings.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, flags=re.DOTALL)
    for colour, variable in NAMES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" aria-labelledby="{name}-title" '
    )
    title = f'<title id="{name}-title">{description}</title>'
    opening, rest = svg.removeprefix("<svg ").split(">", 1)
    return f"{head}{opening}>{title}{rest}"
