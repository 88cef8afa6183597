"""The report as one self-contained HTML page: what is shown where, and the template that shows it.

The template escapes all words (`templates/page.html`); only drawn figures are markup already. Which
columns a table has is decided in `_tables`, what is said in sentences in `_conclusion`.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from .._names import is_finite, printable
from . import _tables
from ._conclusion import conclusion
from ._confusion import confusion
from ._figures import Figure
from ._palette import DARK, LIGHT, properties
from ._runs import Comparison, ReportError, Run

# Title, name in the summary, function that selects the best, unit, scale and digits.
TILES = (
    ("best test accuracy", "test_accuracy", max, "%", 100.0, 2),
    ("best test NLL", "test_nll", min, "nats", 1.0, 4),
    ("least test squared error", "test_mean_squared_error", min, "", 1.0, 5),
    ("shortest step", "step_ms_median", min, "ms", 1.0, 2),
)
# Title and introduction of each section of figures.
SECTIONS = {
    "curves": (
        "Curves",
        "A thick line is the mean over a run's seeds, a thin one a seed. Hovering over a label "
        "shows the run's full name.",
    ),
    "layers": (
        "Inside the system",
        "What runs with --diagnose measured of themselves after every epoch; means over the seeds.",
    ),
    "sample": (
        "One sample on its way to rest",
        "From the kept weights of a run's first seed, in continuous time: the free dynamics, and "
        "dynamic inversion, which adds the control.",
    ),
}


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page: its heading, an introduction, and what it shows."""

    name: str
    title: str
    note: str = ""
    tables: Sequence[_tables.Table] = ()
    confusions: Sequence[Any] = ()
    figures: Sequence[Figure] = ()
    runs: Sequence[dict[str, Any]] = ()


def page(runs: Sequence[Run], comparisons: Sequence[Comparison], drawn: Sequence[Figure]) -> str:
    """Makes the HTML text of a report.

    The page loads nothing, which a security policy in its head enforces. It follows the light or
    dark theme of the reader and is accessible by keyboard.

    **Arguments:**

    * `runs`, `comparisons`: as returned by `read`.
    * `drawn`: as returned by `figures`.

    **Raises:** `ReportError` if Jinja2 is missing.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            count=f"{len(runs)} run{'' if len(runs) == 1 else 's'}",
            light=properties(LIGHT),
            dark=properties(DARK),
            conclusion=conclusion(runs, comparisons),
            tiles=_tiles(runs),
            sections=list(_sections(runs, comparisons, drawn)),
        )
    )


def _environment() -> Any:
    try:
        # Imported here because only the page needs it.
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise ReportError(
            f"A report needs Jinja2 ({error}): run pip install 'leastcontrol[plot]'."
        ) from error

    def words(value: Any) -> Any:
        return value if isinstance(value, Markup) else printable(value, keep="\n")

    environment = Environment(
        loader=PackageLoader("leastcontrol.report"),
        autoescape=True,
        undefined=StrictUndefined,
        # What would steer a terminal or hide in a text is shown as an escape.
        finalize=words,
    )
    environment.filters["zip"] = lambda one, other: list(zip(one, other, strict=True))
    environment.filters["by_run"] = lambda drawn: [
        (run, list(group)) for run, group in itertools.groupby(drawn, lambda figure: figure.run)
    ]
    return environment


def _sections(
    runs: Sequence[Run], comparisons: Sequence[Comparison], drawn: Sequence[Figure]
) -> Iterator[Section]:
    changed = _tables.changed(runs)
    if changed is not None:
        yield Section("changed", "What differs", tables=[changed])
    yield Section("results", "Results", tables=[_tables.results(runs)])
    if comparisons:
        paired = [_tables.differences(each, number) for number, each in enumerate(comparisons, 1)]
        yield Section("differences", "Differences", tables=paired)
    for name, (title, note) in SECTIONS.items():
        figures = [figure for figure in drawn if figure.section == name]
        if figures:
            yield Section(name, title, note, figures=figures)
        if name == "curves":
            confusions = [shown for run in runs if (shown := confusion(run)) is not None]
            if confusions:
                yield Section("confusions", "Confusions", confusions=confusions)
    differing = _tables.differing_options(runs)
    each = [_run(run, number, differing) for number, run in enumerate(runs, 1)]
    yield Section("runs", "Runs", runs=each)


def _tiles(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Makes the tiles with the main results that are known."""
    finished = sum(len(_tables.finished_summaries(run)) for run in runs)
    seeds = sum(run.seeds for run in runs)
    tiles = [{"title": "seeds finished", "value": f"{finished} of {seeds}", "run": ""}]
    for title, name, best, unit, scale, digits in TILES:
        means = []
        for run in runs:
            values = [summary.get(name) for summary in _tables.finished_summaries(run)]
            known = [value for value in values if is_finite(value)]
            if known:
                means.append((statistics.fmean(known), run.label))
        if means:
            value, label = best(means, key=lambda entry: entry[0])
            text = f"{scale * value:.{digits}f} {unit}".rstrip()
            tiles.append({"title": title, "value": text, "run": label})
    solved = [trial.epochs["converged_fraction"][-1] for run in runs for trial in run.trials]
    if solved:
        value = f"{100 * min(solved):.2f} %"
        tiles.append({"title": "fewest solved in a last epoch", "value": value, "run": ""})
    return tiles


def _run(run: Run, number: int, differing: Sequence[str]) -> dict[str, Any]:
    """Gathers what is shown of one run."""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    commit = f"commit {run.commit}" if run.commit else "no commit known"
    trials = []
    for trial in run.trials:
        certificate = _tables.certificate(run, trial, number)
        summary = trial.summary or {}
        said = {name: summary.get(name) for name in ("faults", "limits")}
        trials.append(
            {
                "seed": trial.seed,
                "certificate": certificate,
                **{
                    name: sentences if certificate and isinstance(sentences, list) else []
                    for name, sentences in said.items()
                },
                "epochs": _tables.epochs(run, trial, number),
            }
        )
    return {
        "name": run.name,
        "command": run.command,
        "origin": f"{commit}; {versions}" if versions else commit,
        "configuration": _tables.configuration(run, number, differing),
        "trials": trials,
    }
