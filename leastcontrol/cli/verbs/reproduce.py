"""`leastcontrol reproduce`."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import tyro

from ...files import FileError, read_json
from ...papers import registry
from ...papers.experiment import AbstractExperiment, Reduction, Report
from ...runs.interruption import interruptible
from ...runs.options import ConfigError
from .._console import say, tell
from .._display import Table, Work
from ._verb import AbstractPlainVerb, check_file, write_result

if TYPE_CHECKING:
    from ...papers.reproduction import Judged

# What `origin` says of a result.
ORIGIN = ("command", "commit", "versions")


@dataclasses.dataclass(frozen=True)
class Reproduce(AbstractPlainVerb):
    """Run tables or figures of the papers, and show our numbers beside theirs."""

    verb: ClassVar[str] = "reproduce"

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Their names; --list shows them."""
    list: bool = False
    """Show all names with their sources, expected numbers, times and needs, and run nothing."""
    all: bool = False
    """All that can be run."""
    quick: bool = False
    """Reduced versions, each of which says what it reduces."""
    out: Path = Path("runs/reproduce")
    """Folder with a folder for each; what is finished there is not run again, and what was
    interrupted goes on."""
    results: Path | None = None
    """File for the verdicts and times, written after each experiment; those of other experiments
    that it holds are kept."""
    data_dir: Path | None = None
    """Folder with the data sets' files, if not where they are looked for."""

    def check(self) -> None:
        """Checks the names."""
        if (len(self.names) > 0) + self.list + self.all != 1:
            raise ConfigError(
                "reproduce takes names of experiments, or --all, or --list, which shows the names: "
                "write one of them."
            )
        if self.list and self.results is not None:
            raise ConfigError(
                "--list runs nothing that --results could hold: leave one of them out."
            )
        for name in self.names:
            registry.find(name, registry.EXPERIMENTS, quick=self.quick)
        check_file("results", self.results)
        _kept(self.results, ())

    def run(self, command: str) -> int:
        """Runs the experiments and prints their verdicts."""
        if self.list:
            say(registry.listing(registry.EXPERIMENTS))
            return 0
        from ...papers.reproduction import reduction_of, verdicts
        from ...runs.origin import origin

        # Each once, in the order of the list.
        chosen = [
            each
            for each in registry.EXPERIMENTS
            if each.name in self.names
            or (self.all and each.parts and (each.reduction or not self.quick))
        ]
        about = origin(command)
        failed, experiments = 0, _kept(self.results, [each.name for each in chosen])
        for experiment in chosen:
            began, worked = time.perf_counter(), time.process_time()
            reduction = reduction_of(experiment, quick=self.quick, data_dir=self.data_dir)
            tell(f"{experiment.name}: {_announced(experiment, reduction)}")
            with _part_report(experiment) as report:
                judged = experiment.run(
                    self.out,
                    reduction=reduction,
                    data_dir=self.data_dir,
                    command=command,
                    report=report,
                )
            times = (time.perf_counter() - began, time.process_time() - worked)
            _print_judged(experiment, reduction, judged)
            failed += sum(each.failed for each in judged)
            experiments[experiment.name] = {
                **verdicts(experiment, judged, reduction=reduction, times=times),
                **experiment.entries(self.out, reduction=reduction),
                **about,
            }
            write_result(self.results, _gathered(experiments, about))
        for each in registry.EXPERIMENTS if self.all else ():
            if each.missing:
                tell(f"{each.name} is not run by this command: {each.missing}")
        return 1 if failed else 0


def _kept(results: Path | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads a file of verdicts, if there is one, without those of the experiments named.

    Each experiment has the command and the versions that it was run with; in older files only the
    file has them.

    **Raises:** `ConfigError` for a file of another kind.
    """
    if results is None or not results.is_file():
        return {}
    try:
        document = read_json(results)
        about = {name: document[name] for name in ORIGIN if name in document}
        held = {each["experiment"]: {**about, **each} for each in document["experiments"]}
        sum(each["seconds"] for each in held.values())
    except (OSError, FileError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{results} is there and holds no verdicts that others could be added to: name another "
            "file with --results FILE."
        ) from error
    return {name: each for name, each in held.items() if name not in names}


def _gathered(experiments: dict[str, dict[str, Any]], about: dict[str, Any]) -> dict[str, Any]:
    """Puts experiments in the order of the list, with the origin of the last run."""
    places = {each.name: place for place, each in enumerate(registry.EXPERIMENTS)}
    names = sorted(experiments, key=lambda name: places.get(name, len(places)))
    return {
        "seconds": sum(each["seconds"] for each in experiments.values()),
        "experiments": [experiments[name] for name in names],
        **about,
    }


def _announced(experiment: AbstractExperiment, reduction: Reduction | None) -> str:
    if reduction is None:
        return f"{len(experiment.parts)} rows, {registry.duration(experiment.minutes)}"
    return f"{registry.duration(reduction.minutes)}; {reduction.sentence}"


@contextlib.contextmanager
def _part_report(experiment: AbstractExperiment) -> Iterator[Report]:
    """Shows how far a part is, and ends the process where it was asked to."""
    parts = experiment.parts
    with Work(float(len(parts))) as work, interruptible("the same command") as saved:

        def report(name: str, place: str, share: float) -> None:
            work.at(f"{name}, {place}", parts.index(name) + share)
            saved(f"{place} of {name}")

        yield report


def _print_judged(
    experiment: AbstractExperiment, reduction: Reduction | None, judged: Sequence["Judged"]
) -> None:
    title = f"{experiment.title} ({experiment.source})"
    expected = experiment.compared_with
    if reduction is not None:
        title = f"{title}; reduced: {reduction.sentence}"
        expected = experiment.reduced_compared_with
    headings = ("row", "figure", "measured", expected, "verdict")
    extra = {
        "the paper, full size": [each.published for each in judged],
        "loss removed by control": [each.strength for each in judged],
    }
    shown = {name: values for name, values in extra.items() if any(values)}
    table = Table(*headings, *shown, title=title, kept=len(headings))
    for place, each in enumerate(judged):
        cells = (each.row, each.quantity, each.measured, each.expected, each.verdict)
        table.add_row(*cells, *(values[place] or "–" for values in shown.values()))
    table.show()
