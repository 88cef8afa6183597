"""The tables of a report as data; a template shows them.

The first column names the row. Columns that are not *minor* fit on a page; minor ones are behind a
switch of the table. The most important column comes first.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._names import is_finite, strength_shown
from ._runs import Comparison, Run, Trial


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its heading, and whether it is minor, or holds words that may be broken."""

    heading: str
    minor: bool = False
    words: bool = False

    @property
    def style(self) -> str:
        """The classes of its cells."""
        return " ".join([*(["minor"] if self.minor else []), *(["text"] if self.words else [])])


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: its text, and what hovering shows besides."""

    text: str
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a name that no other table of the page has."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def minor(self) -> bool:
        """Whether some columns are minor."""
        return any(column.minor for column in self.columns)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A column of numbers.

    * `name`: in the summary; `PART.NAME` is in a part of it.
    * `scale`, `digits`: factor and number of decimal places for display.
    """

    heading: str
    name: str
    scale: float
    digits: int
    minor: bool = False

    def shown(self, mean: Any, spread: Any = None) -> str:
        """Formats a number and, if there is one, its spread."""
        if not is_finite(mean):
            return "–"
        text = f"{self.scale * mean:.{self.digits}f}"
        if is_finite(spread):
            text += f" ± {self.scale * spread:.{self.digits}f}"
        return text

    @property
    def column(self) -> Column:
        """Its column."""
        return Column(self.heading, self.minor)


# A table has those of labels, of target vectors, or both, depending on the data of its runs.
TEST = (
    Figure("test accuracy, %", "test_accuracy", 100.0, 2),
    Figure("test squared error", "test_mean_squared_error", 1.0, 5),
    Figure("test NLL, nats", "test_nll", 1.0, 4),
)
RESULTS = (
    *TEST,
    Figure("solved, %", "solve.converged_fraction", 100.0, 2),
    Figure("loss removed, %", "strength.removed_mean", 100.0, 1),
    Figure("at the end, %", "strength.removed_end", 100.0, 1),
    Figure("ms a step", "step_ms_median", 1.0, 2),
    Figure("validation accuracy, %", "validation_accuracy", 100.0, 2, minor=True),
    Figure("train accuracy, %", "train_accuracy", 100.0, 2, minor=True),
    Figure("train NLL, nats", "train_nll", 1.0, 4, minor=True),
    Figure("validation squared error", "validation_mean_squared_error", 1.0, 5, minor=True),
    Figure("train squared error", "train_mean_squared_error", 1.0, 5, minor=True),
    Figure("seconds", "seconds", 1.0, 1, minor=True),
)
DIFFERENCES = (
    *TEST,
    Figure("solved, %", "converged_fraction", 100.0, 2),
    Figure("ms a step", "step_ms_median", 1.0, 2),
    Figure("epochs to target", "epochs_to_target", 1.0, 1, minor=True),
    Figure("seconds to target", "seconds_to_target", 1.0, 1, minor=True),
    Figure("‖(ψ, u)‖", "control_norm", 1.0, 4, minor=True),
)
EPOCHS = (
    Figure("validation accuracy, %", "accuracy", 100.0, 2),
    Figure("validation squared error", "mean_squared_error", 1.0, 5),
    Figure("loss, nats", "loss", 1.0, 4),
    Figure("solved, %", "converged_fraction", 100.0, 3),
    Figure("loss removed, %", "removed", 100.0, 1),
    Figure("steps a solve", "steps_mean", 1.0, 2),
    Figure("seconds", "seconds", 1.0, 2),
    Figure("residual / tolerance", "residual_max", 1.0, 3, minor=True),
    Figure("‖(ψ, u)‖²", "control_energy", 1.0, 4, minor=True),
)


def results(runs: Sequence[Run]) -> Table:
    """Makes the table of the summaries' figures, the mean over each run's finished seeds."""
    every = {name for run in runs for trial in run.trials for name in trial.summary or ()}
    columns = [Column("run")]
    cells: list[Callable[[Run], Cell]] = [named]

    def add(column: Column, cell: Callable[[Run], Cell]) -> None:
        columns.append(column)
        cells.append(cell)

    for figure in _known(RESULTS, every):
        add(figure.column, lambda run, f=figure: Cell(f.shown(*mean_and_deviation(run, f.name))))
        if figure.name == "strength.removed_end":
            add(Column("strength"), lambda run: Cell(strength_shown(run.strength)))
    add(
        Column("seeds finished", minor=True),
        lambda run: Cell(f"{len(finished_summaries(run))} of {run.seeds}"),
    )
    rows = tuple(tuple(cell(run) for cell in cells) for run in runs)
    caption = "Mean ± standard deviation over the finished seeds"
    return Table("results", caption, tuple(columns), rows)


def named(run: Run) -> Cell:
    """Returns the cell of a run: its label, and its name on hover where that is another."""
    return Cell(run.label, "" if run.label == run.name else run.name)


def finished_summaries(run: Run) -> list[dict[str, Any]]:
    """Returns the summaries of the seeds that are finished."""
    return [trial.summary for trial in run.trials if trial.summary is not None]


def figure_of(summary: dict[str, Any], name: str) -> Any:
    """Returns a figure of a summary, or of a part of it, named PART.FIGURE."""
    part, _, figure = name.rpartition(".")
    within = summary.get(part) if part else summary
    return within.get(figure) if isinstance(within, dict) else None


def mean_and_deviation(run: Run, name: str) -> tuple[float | None, float | None]:
    """Computes mean and standard deviation of a figure over the finished seeds of a run.

    Both are `None` where a seed lacks the figure, the deviation for one seed too.
    """
    values = [figure_of(summary, name) for summary in finished_summaries(run)]
    if not values or not all(map(is_finite, values)):
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def differences(comparison: Comparison, number: int) -> Table:
    """Makes the table of the differences of paired trials."""
    names = {name for difference in comparison.differences for name in difference}
    figures = _known(DIFFERENCES, names)
    rows = []
    for difference in comparison.differences:
        values = [difference.get(figure.name) or {} for figure in figures]
        cells = [
            Cell(figure.shown(value.get("mean"), value.get("standard_error")))
            for figure, value in zip(figures, values, strict=True)
        ]
        system, rule, less = (difference.get(name) for name in ("system", "rule", "less"))
        rows.append((Cell(f"{system}: {rule} less {less}"), *cells))
    caption = f"{comparison.name}: differences seed by seed, mean ± standard error"
    columns = (Column("difference"), *(figure.column for figure in figures))
    return Table(f"differences-{number}", caption, columns, tuple(rows))


# Options that differ between most runs by themselves, or say where files were.
_PLACES = ("seed", "seeds", "data_dir")
# Number of options in which runs differ that are shown at once.
_FIRST = 4


def differing_options(runs: Sequence[Run]) -> list[str]:
    """Lists the options in which runs differ, those with most values first.

    An option that only the words of some runs have counts by its values in these.
    """
    names = dict.fromkeys(name for run in runs for name in run.config)
    values = {name: {shown(run.config.get(name)) for run in runs} for name in names}
    having = {
        name: {shown(run.config[name]) for run in runs if name in run.config} for name in names
    }
    return sorted(
        (name for name in names if len(values[name]) > 1),
        key=lambda name: (name in _PLACES, -len(having[name])),
    )


def changed(runs: Sequence[Run]) -> Table | None:
    """Makes the table of the options in which runs differ; `None` if they differ in none."""
    names = differing_options(runs)
    if len(runs) < 2 or not names:
        return None
    columns = [Column(name, minor=place >= _FIRST, words=True) for place, name in enumerate(names)]
    rows = [(named(run), *(Cell(shown(run.config.get(name))) for name in names)) for run in runs]
    caption = "Options in which the runs differ"
    return Table("changed", caption, (Column("run"), *columns), tuple(rows))


def configuration(run: Run, number: int, differing: Sequence[str]) -> Table:
    """Makes the table of a run's options, those in which runs differ first."""
    names = [name for name in differing if name in run.config]
    names += [name for name in run.config if name not in names]
    rows = tuple((Cell(name), Cell(shown(run.config[name]))) for name in names)
    columns = (Column("option"), Column("value", words=True))
    return Table(f"options-{number}", f"Configuration of {run.name}", columns, rows)


def certificate(run: Run, trial: Trial, number: int) -> Table | None:
    """Makes the table of what a device's certificate counts; `None` for another run."""
    summary = trial.summary or {}
    measured = summary.get("certificate")
    if not isinstance(measured, dict) or not isinstance(measured.get("counts"), dict):
        return None
    rows = [(Cell(str(name)), Cell(shown(count))) for name, count in measured["counts"].items()]
    for title, value in (
        ("noise floor of an output", measured.get("noise_floor")),
        ("error left under control", summary.get("remaining_error")),
        *_compared(summary),
    ):
        rows.append((Cell(title), Cell(Figure(title, "", 1.0, 3).shown(value))))
    caption = f"What was measured of the device of {run.name}, seed {trial.seed}"
    name = f"certificate-{number}-{trial.seed}"
    return Table(name, caption, (Column("test samples"), Column("value")), tuple(rows))


def _compared(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Lists what a comparison of the device with a twin found, if there was one."""
    known = []
    for part, titles in (
        (
            "mismatch",
            {
                "response": "mismatch of the responses, relative",
                "angle": "angle to the responses without mismatch, °",
                "lines": "mismatch of the control lines, logarithmic",
            },
        ),
        (
            "alignment",
            {
                "angle": "angle of the feedback to the true response, °",
                "column_space": "part of the feedback in the row space of the true response",
            },
        ),
    ):
        measured = summary.get(part)
        if isinstance(measured, dict):
            known += [(title, measured.get(name)) for name, title in titles.items()]
    return known


def epochs(run: Run, trial: Trial, number: int) -> Table:
    """Makes a table of the numbers in the curves, for readers who cannot see the curves."""
    figures = [figure for figure in EPOCHS if figure.name in trial.epochs]
    if "mean_squared_error" in trial.epochs:
        # The squared error is in units of the targets.
        figures = [
            dataclasses.replace(figure, heading="loss") if figure.name == "loss" else figure
            for figure in figures
        ]
    values = zip(*(trial.epochs[figure.name] for figure in figures), strict=True)
    rows = tuple(
        (
            Cell(f"{epoch:.0f}"),
            *(Cell(each.shown(value)) for each, value in zip(figures, row, strict=True)),
        )
        for epoch, row in zip(trial.epochs["epoch"], values, strict=True)
    )
    columns = (Column("epoch"), *(figure.column for figure in figures))
    caption = f"Epochs of {run.name}, seed {trial.seed}"
    return Table(f"epochs-{number}-{trial.seed}", caption, columns, rows)


def shown(value: Any) -> str:
    """Returns an option's value as words."""
    if value is None or value == []:
        return "–"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _known(figures: Sequence[Figure], names: Iterable[str]) -> list[Figure]:
    """Drops the figures of labels or of target vectors if no run has such targets."""
    names = set(names)
    vectors = any("squared_error" in name for name in names)
    labels = not vectors or any("accuracy" in name for name in names)

    def known(name: str) -> bool:
        if "squared_error" in name:
            return vectors
        part, _, _ = name.rpartition(".")
        if part:
            return part in names
        return labels or not name.endswith(("accuracy", "nll"))

    return [figure for figure in figures if known(figure.name)]
