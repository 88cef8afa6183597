"""Runs a table or a figure of the papers, row by row, and judges what it has measured.

A row is a run like any other, by `runner.run`, into a run folder of its own,
`OUT/EXPERIMENT/ROW`.
Its file `OUT/EXPERIMENT/ROW.json` is written when all its seeds are finished; a row that has one is
not run again, and one that was interrupted goes on from its last checkpoint, or its last picture.
Verdicts are made anew each time, from the values in these files.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files, training
from ..runs.folders import read_json, read_metrics, seed_folders
from ..runs.meta import MetaJob
from ..runs.options import ConfigError
from ..runs.represent import RepresentError, RepresentJob
from ..runs.runner import AbstractJob, run
from ..runs.train import TrainingJob
from .expectations import Measured, Quantity
from .registry import Config, Experiment, Row, configuration

# From a row, a seed and how far that is.
Report = Callable[[Row, int, str], None]
FAILURES = (training.TrainingError, training.MetaTrainingError, RepresentError)
# By the verbs of their configurations.
JOBS: dict[str, Callable[[Any], AbstractJob[Any]]] = {
    kind.verb: kind for kind in (TrainingJob, MetaJob, RepresentJob)
}


@dataclasses.dataclass(frozen=True)
class Judged:
    """One figure of one row, for the reader."""

    row: str
    quantity: str
    measured: str
    expected: str
    verdict: str
    failed: bool = False


def reproduce(
    experiment: Experiment,
    out: Path,
    *,
    quick: bool = False,
    data_dir: Path | None = None,
    command: str | None = None,
    report: Report | None = None,
) -> list[Judged]:
    """Runs what is left of an experiment, and returns its figures beside the paper's.

    **Arguments:**

    * `experiment`: with rows.
    * `out`: a folder for all experiments; this one's is `OUT/NAME`, or `OUT/NAME-quick`.
    * `quick`: run the reduced version.
    * `data_dir`: folder with the data set's files, if not where they are looked for.
    * `report`: called when a part of a row's seed is saved, and may raise to stop there.

    A row whose training fails is told of in its verdict, and the others are run.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`.
    """
    folder = out / (f"{experiment.name}-quick" if quick else experiment.name)
    with training.RunFolder.held(folder, resume=True):
        found = {}
        for row in experiment.rows:
            config = configuration(row, experiment, quick=quick, data_dir=data_dir)
            told = {
                "experiment": experiment.name,
                "row": row.name,
                "source": experiment.source,
                "reduced": experiment.reduction.sentence
                if quick and experiment.reduction
                else None,
            }
            try:
                found[row.name] = _values(row, config, folder, told, command, report)
            except FAILURES as error:
                found[row.name] = str(error)
    return [own for row in experiment.rows for own in _judged(row, found)]


def verdicts(
    experiment: Experiment, judged: Sequence[Judged], *, quick: bool, seconds: float
) -> dict[str, Any]:
    """Returns what an experiment has shown, for a file.

    **Arguments:** `experiment` and what `reproduce` returned for it; `quick`, whether that was the
    reduced version; `seconds` that it took this time, without what was finished before.
    """
    reduction = experiment.reduction if quick else None
    minutes = experiment.minutes if reduction is None else reduction.minutes
    return {
        "experiment": experiment.name,
        "source": experiment.source,
        "reduced": None if reduction is None else reduction.sentence,
        "seconds": seconds,
        "minutes_expected": minutes,
        "verdicts": [dataclasses.asdict(own) for own in judged],
    }


def _values(
    row: Row,
    config: Config,
    folder: Path,
    told: dict[str, Any],
    command: str | None,
    report: Report | None,
) -> dict[str, list[float]]:
    """Returns a row's values by quantity, one for each seed, after running what is left of it."""
    path = folder / f"{row.name}.json"
    if path.is_file():
        return _finished(row, config, path)

    job = JOBS[config.verb](config)

    def each(seed: int, figures: Any) -> None:
        if report is not None:
            report(row, seed, job.place(figures))

    run_folder = folder / row.name
    summary = run(job, run_folder, command=command, resume=True, report=each)
    own = seed_folders(config, run_folder).values()
    values = {
        expected.quantity.name: [_value(expected.quantity, seed_folder) for seed_folder in own]
        for expected in row.expectations
    }
    files.write_json(path, files.with_checksum({**told, "values": values, **summary}))
    return values


def _value(quantity: Quantity, folder: Path) -> float:
    """Returns a quantity of one seed's run folder, in the reader's unit."""
    stem, *names = quantity.path
    if stem == "summary":
        value = read_json(folder / "summary.json")
    else:
        value = read_metrics(folder)[-1]
    for name in names:
        value = value[name]
    # A number that is not finite is written as null.
    return float("nan") if value is None else quantity.scale * value


def _finished(row: Row, config: Config, path: Path) -> dict[str, list[float]]:
    """Returns the values in the file of a finished row.

    **Raises:** `ConfigError` if it is damaged, or of another configuration.
    """
    try:
        file = files.read_record(path)
        found = type(config).from_json(file["config"], str(path)).identity()
        values = {
            expected.quantity.name: [
                float("nan") if value is None else float(value)
                for value in file["values"][expected.quantity.name]
            ]
            for expected in row.expectations
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not the file of a finished row: it is damaged; remove it, and the row is "
            "made again from its run folder."
        ) from error
    for name, value in config.identity().items():
        if name not in found or found[name] != value:
            raise ConfigError(
                f"{path} is of a run with {name} = {found.get(name)}, and the row is {value} now: "
                "name another folder with --out DIR."
            )
    return values


def _judged(row: Row, found: dict[str, dict[str, list[float]] | str]) -> list[Judged]:
    told = []
    values = found[row.name]
    for expected in row.expectations:
        quantity = expected.quantity
        if isinstance(values, str):
            words = (row.name, quantity.name, "–", expected.shown(), f"failed: {values}")
            told.append(Judged(*words, failed=True))
            continue
        of_rows = {
            name: Measured(tuple(own[quantity.name]))
            for name, own in found.items()
            if isinstance(own, dict) and quantity.name in own
        }
        own = of_rows[row.name]
        told.append(
            Judged(
                row.name,
                quantity.name,
                own.shown(quantity),
                expected.shown(),
                expected.verdict(own, of_rows),
            )
        )
    return told
