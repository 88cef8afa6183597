"""Plots of one sample of a run on its way to rest, free and controlled."""

from collections.abc import Callable
from typing import Any

from ._palette import Palette
from ._plot import SEAMLESS, Drawing, Plot, add_legend, looks, name_powers, with_name_of
from ._runs import Run

TIME = "time, time constants of the neurons"


def sample_plots(run: Run, number: int) -> list[Plot]:
    """Lists the plots of a run's sample, if one was inspected."""
    sample = run.sample
    if sample is None:
        return []
    available = []

    def add(name: str, title: str, caption: str, paint: Callable[..., None]) -> None:
        def named(drawing: Drawing, palette: Palette) -> None:
            axes = drawing.add_subplot()
            axes.set_title(with_name_of(title, run))
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
    add_legend(drawing)


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
    add_legend(drawing)


def _paint_control(drawing: Drawing, axes: Any, palette: Palette, sample: dict[str, Any]) -> None:
    way = sample["controlled"]
    for (name, line), (style, colour) in zip(way["control"].items(), looks(palette), strict=False):
        _in_time(axes, sample, line, way["rest"]["control"][name], colour, name, style)
    axes.set(xlabel=TIME, ylabel="control, state units", ylim=(0, None))
    add_legend(drawing)


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
    name_powers(axes.xaxis)
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
    add_legend(drawing)
