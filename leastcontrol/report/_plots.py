"""The plots of runs, each with its texts and the function that paints it.

The section `curves` compares runs, with a line for each; `layers` shows the parts of one run's
system, and `sample` one sample of a run. Plots paint on Matplotlib figures and do not depend on
how these are rendered.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ._palette import Palette
from ._runs import EPOCH_FIGURES, Run

STYLES = ("-", "--", ":", "-.")
EPOCHS = "epoch"
# Largest number of heat map columns; with more epochs, a column averages several.
MOST_COLUMNS = 120
LONGEST_NAME = 44
# Characters of a legend that fit beside each other, those that a mark takes, and inches of a row.
LEGEND_WIDTH = 54
LEGEND_MARK = 7
LEGEND_ROW = 0.2
# The look of a line over an identical one, and of a seed's line.
OVER = (0, (3, 3))
OF_A_SEED: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.5}
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


@dataclasses.dataclass(frozen=True)
class _Curve:
    name: str
    title: str
    caption: str
    up: str
    figure: str
    scale: float = 1.0
    logarithmic: bool = False
    against_time: bool = False
    section: str = "curves"


def _inside(figure: str, title: str, caption: str, up: str) -> _Curve:
    """Makes the curve of a diagnostic of the whole system."""
    return _Curve(figure.replace("_", "-"), title, caption, up, figure, section="layers")


CURVES = (
    _Curve(
        "loss",
        "Training loss",
        "Mean loss at the rest points that the rule learned from.",
        "loss, nats",
        "loss",
        logarithmic=True,
    ),
    _Curve(
        "accuracy",
        "Validation accuracy",
        "Share of validation samples classified rightly at the free equilibrium.",
        "accuracy, %",
        "accuracy",
        100.0,
    ),
    _Curve(
        "accuracy-time",
        "Validation accuracy against time",
        "The same against the wall time of training, without compilation and evaluation.",
        "accuracy, %",
        "accuracy",
        100.0,
        against_time=True,
    ),
    _Curve(
        "error",
        "Validation error",
        "Mean squared error of the validation samples at the free equilibrium.",
        "mean squared error",
        "mean_squared_error",
        logarithmic=True,
    ),
    _Curve(
        "error-time",
        "Validation error against time",
        "The same against the wall time of training, without compilation and evaluation.",
        "mean squared error",
        "mean_squared_error",
        logarithmic=True,
        against_time=True,
    ),
    _Curve(
        "control",
        "Energy of control",
        "Mean of ‖(ψ, u)‖², the squared control that a sample needed; zero without control.",
        "‖(ψ, u)‖², state units²",
        "control_energy",
    ),
    _Curve(
        "removed",
        "Loss removed by control",
        "Share of the loss without control that is gone at rest, over the samples of a step.",
        "removed, %",
        "removed",
        100.0,
    ),
    _Curve(
        "converged",
        "Solved samples",
        "Share of solves, of one sample in one step, whose equilibrium was found.",
        "solved, %",
        "converged_fraction",
        100.0,
    ),
    _Curve(
        "residual",
        "Largest residual",
        "The largest residual of a solved sample, as a multiple of the tolerance: at most 1.",
        "residual / tolerance",
        "residual_max",
    ),
    _Curve(
        "steps",
        "Steps of a solve",
        "Mean number of iterations that a sample's solve took.",
        "steps a solve",
        "steps_mean",
    ),
    _inside(
        "angle_to_loss",
        "Angle to the loss's gradient",
        "Between the rule's gradient and that of the loss, of all weights together, on the same "
        "validation samples after every epoch.",
        "angle, degrees",
    ),
    _inside(
        "angle_to_exact",
        "Angle to the control's gradient",
        "Between the rule's gradient and that of the control itself, of all weights together.",
        "angle, degrees",
    ),
    _inside(
        "angle_to_analytic",
        "Angle to the linearised update",
        "Between deep feedback control's gradient and its linearisation at the free rest point.",
        "angle, degrees",
    ),
    _inside(
        "angle_to_minimum_norm",
        "Angle to minimum-norm targets",
        "Between deep feedback control's gradient and the update by minimum-norm targets.",
        "angle, degrees",
    ),
    _inside(
        "angle_to_gauss_newton",
        "Angle to the Gauss–Newton step",
        "Between deep feedback control's gradient and the damped Gauss–Newton step.",
        "angle, degrees",
    ),
    _inside(
        "condition",
        "Condition of direct feedback",
        "Share of the feedback weights in the row space that makes control the least one: at "
        "most 1.",
        "share, of 1",
    ),
    _inside(
        "feedback_angle",
        "Angle of feedback to forward weights",
        "Between the weights of a mirror and those that they stand for.",
        "angle, degrees",
    ),
    _inside(
        "feedback_movement",
        "Movement of feedback weights",
        "How far feedback weights are from those that the run began with, in units of these.",
        "‖Q − Q₀‖ / ‖Q₀‖",
    ),
    _inside(
        "error_ratio",
        "Error under control",
        "Share of the output's error that control leaves.",
        "share, of 1",
    ),
    _inside(
        "gain",
        "Gain of the output",
        "How far the output moves by a control along the slope of the loss, in units of it.",
        "gain",
    ),
    _inside(
        "gain_share",
        "Share of the update that raises the gain",
        "What is left of the gradient without the part that lowers the error, as a share of all.",
        "share, of 1",
    ),
    _inside(
        "margin",
        "Margin of stability",
        "The smallest −Re λ of the controlled dynamics over the samples, for fast voltages; "
        "unstable below 0.",
        "margin, of the controller's rate",
    ),
)


def plots(runs: Sequence[Run]) -> list[Plot]:
    """Lists all plots of runs, in the order of the page."""
    available = []
    for kind in CURVES:
        # A run has the same look in all plots, by its place.
        places = [place for place, run in enumerate(runs) if _has(run, kind)]
        drawn = [runs[place] for place in places]
        if drawn:
            caption = _with_identical(kind.caption, kind, drawn)
            names = tuple(run.name for run in drawn)
            paint = _lines(kind, drawn, places)
            available.append(Plot(kind.name, kind.section, None, kind.title, caption, paint, names))
    for number, run in enumerate(runs, 1):
        available += _layers(run, number)
    for number, run in enumerate(runs, 1):
        available += _sample(run, number)
    return available


def _has(run: Run, curve: _Curve) -> bool:
    if curve.section == "curves" and curve.figure in EPOCH_FIGURES:
        return True
    if curve.section == "curves":
        return bool(run.trials) and all(curve.figure in trial.epochs for trial in run.trials)
    each = [trial.diagnostics.get(curve.figure, {}) for trial in run.trials]
    return bool(each) and all("all" in places for places in each)


def _squared(run: Run) -> bool:
    """Returns whether a run has the squared error as its loss, which is not in nats."""
    return any("mean_squared_error" in trial.epochs for trial in run.trials)


# --- comparison of runs ---------------------------------------------------------------------------


def curve(
    run: Run, figure: str, against_time: bool = False
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Computes the horizontal values, and minimum, mean and maximum of a figure over the seeds.

    Only epochs that every seed has finished are included. The time of an epoch is the training time
    until its end, averaged over the seeds.
    """
    count = min((len(trial.epochs["epoch"]) for trial in run.trials), default=0)
    lines = [
        (trial.epochs[figure] if figure in trial.epochs else trial.diagnostics[figure]["all"])[
            :count
        ]
        for trial in run.trials
    ]
    columns = list(zip(*lines, strict=True))
    if against_time:
        times = [itertools.accumulate(trial.epochs["seconds"][:count]) for trial in run.trials]
        across = [_mean(seconds) for seconds in zip(*times, strict=True)]
    else:
        across = run.trials[0].epochs["epoch"][:count] if run.trials else []
    low, mean, high = ([of(column) for column in columns] for of in (min, _mean, max))
    return across, low, mean, high


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def identical(runs: Sequence[Run], figure: str, against_time: bool = False) -> list[list[Run]]:
    """Groups the runs whose curves of a figure are the same; each group has several."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        across, _, mean, _ = curve(run, figure, against_time)
        if across:
            groups.setdefault((tuple(across), tuple(mean)), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def _with_identical(caption: str, plot: _Curve, runs: Sequence[Run]) -> str:
    """Adds to a caption which runs have the same curve."""
    groups = identical(runs, plot.figure, plot.against_time)
    each = "; ".join(" = ".join(run.label for run in group) for group in groups)
    return (
        f"{caption} Identical curves, drawn as dashes over each other: {each}." if each else caption
    )


def _lines(plot: _Curve, runs: Sequence[Run], places: Sequence[int]) -> Paint:
    def paint(drawing: Drawing, palette: Palette) -> None:
        axes = drawing.add_subplot()
        if plot.logarithmic:
            axes.set_yscale("log", nonpositive="mask")
            _name_powers(axes.yaxis)
        groups = identical(runs, plot.figure, plot.against_time)
        covering = {run.name for group in groups for run in group[1:]}
        every = list(itertools.islice(_looks(palette), max(places) + 1))
        looks = [every[place] for place in places]
        for number, (run, (style, colour)) in enumerate(zip(runs, looks, strict=True)):
            across, _, mean, _ = curve(run, plot.figure, plot.against_time)
            seeds = len(run.trials)
            label = run.label if seeds == 1 else f"{run.label} ({seeds} seeds)"
            marker = "o" if len(across) == 1 else None
            # What lies under a line of dashes is seen between them.
            style = OVER if run.name in covering else style
            (line,) = axes.plot(
                across,
                _scaled(plot, mean),
                linestyle=style,
                color=colour,
                label=label,
                marker=marker,
            )
            line.set_gid(f"run-{number}")
            for trial in run.trials if seeds > 1 else ():
                single = dataclasses.replace(run, trials=(trial,))
                own, _, values, _ = curve(single, plot.figure, plot.against_time)
                axes.plot(own, _scaled(plot, values), linestyle=style, color=colour, **OF_A_SEED)
        up = plot.up
        if plot.figure == "loss" and any(_squared(run) for run in runs):
            up = "loss"
        axes.set(title=plot.title, ylabel=up)
        _name_epochs(axes, "wall time, s" if plot.against_time else EPOCHS)
        for number, text in enumerate(_legend(drawing).get_texts()):
            text.set_gid(f"label-{number}")

    return paint


def _scaled(plot: _Curve, line: Sequence[float]) -> list[float]:
    return [plot.scale * value for value in line]


def _looks(palette: Palette) -> Any:
    """Cycles through the styles and colours of lines."""
    return itertools.cycle(itertools.product(STYLES, palette.series))


def _name_epochs(axes: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(name)
    if name == EPOCHS:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _name_powers(axis: Any) -> None:
    """Labels a logarithmic axis with plain numbers, also between powers if these are few."""
    from matplotlib.ticker import FuncFormatter

    def between(value: float, _: Any) -> str:
        low, high = axis.get_view_interval()
        decades = math.log10(high / low)
        shown = decades < 0.5 or (decades < 1.5 and f"{value:e}"[0] in "25")
        return f"{value:g}" if shown else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(between))


def _legend(drawing: Drawing, columns: int = 3) -> Any:
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


# --- inside one run -------------------------------------------------------------------------------


def over_seeds(run: Run, figure: str) -> dict[str, list[float]]:
    """Computes the mean of a diagnostic over the seeds, by part of the system and epoch."""
    each = [trial.diagnostics.get(figure, {}) for trial in run.trials]
    places = each[0] if each else {}
    return {
        place: [_mean(values) for values in zip(*(one[place] for one in each), strict=False)]
        for place in places
        if all(place in one for one in each)
    }


# Figure, plot name, title, caption and axis label of the plots with a line for each layer.
LAYERED = (
    (
        "angle_to_loss",
        "angles",
        "Angle of the layers",
        "Between the rule's gradient and that of the loss, layer by layer.",
        "angle, degrees",
    ),
    (
        "feedback_ratio",
        "ratios",
        "Feedback of the layers",
        "The voltage from feedback over that from the layer below.",
        "feedback / feedforward",
    ),
)


def _of_run(title: str, run: Run) -> str:
    """Adds the name of the run to a title, on a second line and shortened if needed."""
    name = run.name if len(run.name) <= LONGEST_NAME else f"{run.name[: LONGEST_NAME - 1]}…"
    return f"{title}\n{name}"


def _layers(run: Run, number: int) -> list[Plot]:
    available = []
    control = over_seeds(run, "control")
    if control:
        available.append(
            Plot(
                f"layers-{number}",
                "layers",
                run.name,
                title := "Control of the layers",
                "Root mean square of the control over the neurons of a layer and over the same "
                "validation samples; “output” is the output control.",
                _heat_map(_of_run(title, run), run, control),
            )
        )
    for figure, name, title, caption, up in LAYERED:
        places = over_seeds(run, figure)
        places.pop("all", None)
        if places:
            paint = _places(_of_run(title, run), run, places, up)
            available.append(Plot(f"{name}-{number}", "layers", run.name, title, caption, paint))
    return available


def _epochs(run: Run) -> list[float]:
    return min((trial.epochs["epoch"] for trial in run.trials), key=len)


def _heat_map(title: str, run: Run, places: dict[str, list[float]]) -> Paint:
    def paint(drawing: Drawing, palette: Palette) -> None:
        from matplotlib import colormaps

        del palette
        axes = drawing.add_subplot()
        epochs = _epochs(run)
        width = math.ceil(len(epochs) / MOST_COLUMNS)
        grouped = [
            [_mean(line[at : at + width]) for at in range(0, len(epochs), width)]
            for line in places.values()
        ]
        edges = [*(epoch - 0.5 for epoch in epochs[::width]), epochs[-1] + 0.5]
        rows = [row - 0.5 for row in range(len(places) + 1)]
        # With few colours the colour bar is drawn as shapes instead of an image.
        colours = colormaps["viridis"].resampled(32)
        drawn = axes.pcolormesh(edges, rows, grouped, cmap=colours, vmin=0.0, **SEAMLESS)
        axes.set_yticks(range(len(places)), list(places))
        axes.grid(visible=False)
        axes.set(title=title, ylabel="part of the system")
        _name_epochs(axes, EPOCHS)
        drawing.colorbar(drawn, ax=axes, label="control, state units")

    return paint


def _places(title: str, run: Run, places: dict[str, list[float]], up: str) -> Paint:
    def paint(drawing: Drawing, palette: Palette) -> None:
        axes = drawing.add_subplot()
        epochs = _epochs(run)
        marker = "o" if len(epochs) == 1 else None
        for (name, line), (style, colour) in zip(places.items(), _looks(palette), strict=False):
            axes.plot(epochs, line, style, color=colour, label=name, marker=marker)
        axes.set(title=title, ylabel=up)
        _name_epochs(axes, EPOCHS)
        _legend(drawing)

    return paint


# --- one sample -----------------------------------------------------------------------------------

TIME = "time, time constants of the neurons"


def _sample(run: Run, number: int) -> list[Plot]:
    sample = run.sample
    if sample is None:
        return []
    available = []

    def add(name: str, title: str, caption: str, paint: Callable[..., None]) -> None:
        def named(drawing: Drawing, palette: Palette) -> None:
            axes = drawing.add_subplot()
            axes.set_title(_of_run(title, run))
            paint(drawing, axes, palette, sample)

        available.append(Plot(f"{name}-{number}", "sample", run.name, title, caption, named))

    if sample["pixels"] is not None:
        what = (
            f"Validation sample {sample['sample']}, class {sample['target']}: the system's input."
        )
        add("sample", "The sample", what, _paint_pixels)
    add(
        "outputs",
        "Outputs at rest",
        f"Softmax of the outputs of validation sample {sample['sample']} at the rest points that "
        f"the solvers found; control pulls them towards its class, {sample['target']}.",
        _paint_outputs,
    )
    add(
        "way-loss",
        "Loss on the way",
        "Crosses are the rest points that the solvers found.",
        _paint_losses,
    )
    add(
        "way-plane",
        "State on its way to rest",
        "In the plane of the two directions in which the states vary most; crosses are the rest "
        "points that the solvers found.",
        _paint_plane,
    )
    if sample["controlled"] is not None:
        add(
            "way-control",
            "Control on the way",
            "Root mean square of the control over the neurons of a layer; crosses are where the "
            "rule's solver found it at rest.",
            _paint_control,
        )
    return available


def _ways(sample: dict[str, Any], palette: Palette) -> list[tuple[str, Any, str]]:
    """Lists name, data and colour of the trajectories of a sample."""
    names = [name for name in ("free", "controlled") if sample[name] is not None]
    return [(name, sample[name], palette.series[n]) for n, name in enumerate(names)]


def _paint_pixels(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    from matplotlib import colormaps

    del palette
    drawn = axes.pcolormesh(
        sample["pixels"], cmap=colormaps["gray"].resampled(32), vmin=0.0, vmax=1.0, **SEAMLESS
    )
    axes.set(aspect="equal", xlabel="column, pixels", ylabel="row, pixels")
    axes.invert_yaxis()
    axes.grid(visible=False)
    drawing.colorbar(drawn, ax=axes, label="brightness, of its range")


def _paint_outputs(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    ways = _ways(sample, palette)
    width = 0.8 / len(ways)
    for place, (name, way, colour) in enumerate(ways):
        heights = [100 * probability for probability in way["rest"]["probabilities"]]
        left = [label - 0.4 + (place + 0.5) * width for label in range(len(heights))]
        axes.bar(left, heights, width, color=colour, label=name)
    axes.axvspan(
        sample["target"] - 0.5,
        sample["target"] + 0.5,
        color=palette.series[2],
        alpha=0.15,
        linewidth=0,
        label="target",
    )
    axes.set(xlabel="class", ylabel="probability, %")
    axes.grid(visible=False, axis="x")
    _name_classes(axes, len(ways[0][1]["rest"]["probabilities"]))
    _legend(drawing)


def _name_classes(axes: Any, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if count <= 12:
        axes.set_xticks(range(count))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _paint_losses(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    for name, way, colour in _ways(sample, palette):
        _in_time(axes, sample, way["loss"], way["rest"]["loss"], colour, name)
    axes.set(xlabel=TIME, ylabel="loss, nats", ylim=(0, None))
    _legend(drawing)


def _paint_control(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    way = sample["controlled"]
    for (name, line), (style, colour) in zip(way["control"].items(), _looks(palette), strict=False):
        _in_time(axes, sample, line, way["rest"]["control"][name], colour, name, style)
    axes.set(xlabel=TIME, ylabel="control, state units", ylim=(0, None))
    _legend(drawing)


def _in_time(
    axes: Any,
    sample: dict[str, Any],
    line: list[float],
    rest: float,
    colour: str,
    name: str,
    style: str = "-",
) -> None:
    # Time zero cannot be shown on a logarithmic axis.
    axes.semilogx(sample["times"][1:], line[1:], style, color=colour, label=name)
    _name_powers(axes.xaxis)
    axes.plot(
        sample["times"][-1], rest, "x", color=colour, markeredgewidth=2, markersize=8, clip_on=False
    )


def _paint_plane(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    for name, way, colour in _ways(sample, palette):
        first, second = zip(*way["plane"], strict=True)
        axes.plot(first, second, color=colour, label=name)
        axes.plot(*way["rest"]["plane"], "x", color=colour, markeredgewidth=2, markersize=8)
    axes.plot(*sample["free"]["plane"][0], "o", color=palette.ink, label="start")
    axes.set(xlabel="first direction, state units", ylabel="second direction, state units")
    _legend(drawing)
