"""Plots that compare runs, with a line for each: the figures of trainings by epoch or by time."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from ._palette import Palette
from ._plot import (
    EPOCHS,
    Drawing,
    Paint,
    Plot,
    add_legend,
    looks,
    mean_of,
    name_epochs,
    name_powers,
)
from ._runs import EPOCH_FIGURES, Run

# The look of a line over an identical one, and of a seed's line.
OVER = (0, (3, 3))
OF_A_SEED: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.5}


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


def curves(runs: Sequence[Run]) -> list[Plot]:
    """Lists the plots with a line for each run, in the order of the page."""
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
        across = [mean_of(seconds) for seconds in zip(*times, strict=True)]
    else:
        across = run.trials[0].epochs["epoch"][:count] if run.trials else []
    low, mean, high = ([of(column) for column in columns] for of in (min, mean_of, max))
    return across, low, mean, high


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
            name_powers(axes.yaxis)
        groups = identical(runs, plot.figure, plot.against_time)
        covering = {run.name for group in groups for run in group[1:]}
        every = list(itertools.islice(looks(palette), max(places) + 1))
        chosen = [every[place] for place in places]
        for number, (run, (style, colour)) in enumerate(zip(runs, chosen, strict=True)):
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
                epochs, _, values, _ = curve(single, plot.figure, plot.against_time)
                axes.plot(epochs, _scaled(plot, values), linestyle=style, color=colour, **OF_A_SEED)
        up = plot.up
        if plot.figure == "loss" and any(_squared(run) for run in runs):
            up = "loss"
        axes.set(title=plot.title, ylabel=up)
        name_epochs(axes, "wall time, s" if plot.against_time else EPOCHS)
        for number, text in enumerate(add_legend(drawing).get_texts()):
            text.set_gid(f"label-{number}")

    return paint


def _scaled(plot: _Curve, line: Sequence[float]) -> list[float]:
    return [plot.scale * value for value in line]
