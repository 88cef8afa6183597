"""Plots of the parts of one run's system, as the run diagnosed them after every epoch."""

import math

from ._palette import Palette
from ._plot import (
    EPOCHS,
    SEAMLESS,
    Drawing,
    Paint,
    Plot,
    add_legend,
    looks,
    mean_of,
    name_epochs,
    with_name_of,
)
from ._runs import Run

# Largest number of heat map columns; with more epochs, a column averages several.
MOST_COLUMNS = 120


def over_seeds(run: Run, figure: str) -> dict[str, list[float]]:
    """Computes the mean of a diagnostic over the seeds, by part of the system and epoch."""
    each = [trial.diagnostics.get(figure, {}) for trial in run.trials]
    places = each[0] if each else {}
    return {
        place: [mean_of(values) for values in zip(*(one[place] for one in each), strict=False)]
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


def layers(run: Run, number: int) -> list[Plot]:
    """Lists the plots of the parts of a run's system, if it was diagnosed."""
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
                _heat_map(with_name_of(title, run), run, control),
            )
        )
    for figure, name, title, caption, up in LAYERED:
        places = over_seeds(run, figure)
        places.pop("all", None)
        if places:
            paint = _places(with_name_of(title, run), run, places, up)
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
            [mean_of(line[at : at + width]) for at in range(0, len(epochs), width)]
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
        name_epochs(axes, EPOCHS)
        drawing.colorbar(drawn, ax=axes, label="control, state units")

    return paint


def _places(title: str, run: Run, places: dict[str, list[float]], up: str) -> Paint:
    def paint(drawing: Drawing, palette: Palette) -> None:
        axes = drawing.add_subplot()
        epochs = _epochs(run)
        marker = "o" if len(epochs) == 1 else None
        for (name, line), (style, colour) in zip(places.items(), looks(palette), strict=False):
            axes.plot(epochs, line, style, color=colour, label=name, marker=marker)
        axes.set(title=title, ylabel=up)
        name_epochs(axes, EPOCHS)
        add_legend(drawing)

    return paint
