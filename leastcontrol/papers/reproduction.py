"""The runs of a table or a figure of the papers, row by row, and verdicts on their measurements.

Each row is a run by `runner.run`, in the run folder `OUT/EXPERIMENT/ROW`. The file
`OUT/EXPERIMENT/ROW.json` is written when all seeds of the row have finished, and the row is not run
again. A row that was interrupted resumes at its last checkpoint, or after its last picture. The
verdicts are computed each time from the values in these files.

A row in full is judged by what the paper reports. A reduced one is judged by the claims about the
order of the rows, and else by the values that the same reduced run has measured before, which lie
in `recorded.json`; the paper's number is shown as what the full size is judged by. `make tables`
writes that file from `results/`, so that nothing in it is entered by hand.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import data, files, training
from .._names import strength_shown
from ..runs.folders import read_json, read_metrics, seed_folders
from ..runs.meta import MetaJob
from ..runs.options import ConfigError
from ..runs.represent import RepresentError, RepresentJob
from ..runs.runner import AbstractJob, run
from ..runs.train import TrainingJob
from .expectations import Measured, Quantity
from .experiment import AbstractExperiment, Reduction, Report
from .registry import Config, Experiment, Row, configuration

# The data sets whose presence decides how an experiment is reduced.
SOURCES = {"omniglot": data.OMNIGLOT, "cifar10": data.CIFAR10}
# What previous reduced runs measured.
RECORDED = Path(__file__).with_name("recorded.json")
FAILURES = (training.TrainingError, training.MetaTrainingError, RepresentError)
# The job that runs a configuration, by the verb of the configuration.
JOBS: dict[str, Callable[[Any], AbstractJob[Any]]] = {
    kind.verb: kind for kind in (TrainingJob, MetaJob, RepresentJob)
}


@dataclasses.dataclass(frozen=True)
class Judged:
    """One quantity of one row with its verdict, formatted for display.

    * `values`: of each seed, in the displayed unit; none if the row failed.
    * `published`: what the paper reports of the full size, if the row is a reduced one.
    * `strength`: the share of the loss that control removed in the row, and what set it.
    """

    row: str
    quantity: str
    measured: str
    expected: str
    verdict: str
    failed: bool = False
    values: tuple[float, ...] = ()
    published: str | None = None
    strength: str | None = None


def reproduce(
    experiment: Experiment,
    out: Path,
    *,
    reduction: Reduction | None = None,
    data_dir: Path | None = None,
    command: str | None = None,
    report: Report | None = None,
) -> list[Judged]:
    """Runs the unfinished rows of an experiment, and compares all rows with the paper.

    **Arguments:**

    * `experiment`: an experiment with rows.
    * `out`: the folder of all experiments; that of this one is `OUT/NAME`, `OUT/NAME-quick`, or
      `OUT/NAME-quick-DATA` where the reduced version takes data that are at hand.
    * `reduction`: that of the reduced version to run; none for the full size.
    * `data_dir`: the folder with the files of the data set, if they are not in the default one.
    * `command`: the command line, for the files of the rows.
    * `report`: called when a part of a row's seed is saved; may raise to stop there.

    If the training of a row fails, its verdict contains the error, and the other rows are run. A
    reduced version is judged by its record and not by the paper.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`.
    """
    folder = out / _folder_of(experiment, reduction)
    recorded = _recorded(experiment, reduction)
    with training.RunFolder.held(folder, resume=True):
        values, strengths = {}, {}
        for row in experiment.rows:
            config = configuration(row, reduction, data_dir)
            labels = {
                "experiment": experiment.name,
                "row": row.name,
                "source": experiment.source,
                "reduced": None if reduction is None else reduction.sentence,
            }
            try:
                values[row.name] = _values(row, config, folder, labels, command, report)
                strengths[row.name] = _strength(folder / f"{row.name}.json")
            except FAILURES as error:
                values[row.name] = str(error)
    return [
        dataclasses.replace(judged, strength=strengths.get(row.name))
        for row in experiment.rows
        for judged in _judged(row, values, None if reduction is None else recorded)
    ]


def _folder_of(experiment: Experiment, reduction: Reduction | None) -> str:
    if reduction is None:
        return experiment.name
    return "-".join(part for part in (experiment.name, "quick", reduction.data) if part)


def reduction_of(
    experiment: AbstractExperiment, *, quick: bool, data_dir: Path | None
) -> Reduction | None:
    """Returns the reduction with which an experiment is run; `None` for its full size."""
    reduction = experiment.reduction if quick else None
    if reduction is None or reduction.with_data is None:
        return reduction
    at_hand = SOURCES[reduction.with_data.data].is_at_hand(data_dir)
    return reduction.with_data if at_hand else reduction


def verdicts(
    experiment: AbstractExperiment,
    judged: Sequence[Judged],
    *,
    reduction: Reduction | None,
    times: tuple[float, float],
) -> dict[str, Any]:
    """Converts the verdicts on an experiment to JSON.

    **Arguments:**

    * `experiment`: the experiment.
    * `judged`: the result of `reproduce` for it.
    * `reduction`: with which it was run.
    * `times`: the seconds that the call took, and those of the processor that it took of all cores
      together, without rows that had finished before.
    """
    minutes = experiment.minutes if reduction is None else reduction.minutes
    return {
        "experiment": experiment.name,
        "source": experiment.source,
        "reduced": None if reduction is None else reduction.sentence,
        "seconds": times[0],
        "processor_seconds": times[1],
        "minutes_expected": minutes,
        "verdicts": [dataclasses.asdict(figure) for figure in judged],
    }


def _values(
    row: Row,
    config: Config,
    folder: Path,
    labels: dict[str, Any],
    command: str | None,
    report: Report | None,
) -> dict[str, list[float]]:
    """Finishes a row, and reads its values by quantity, one for each seed."""
    path = folder / f"{row.name}.json"
    if path.is_file():
        return _finished(row, config, path)

    job = JOBS[config.verb](config)

    def each(seed: int, figures: Any) -> None:
        if report is not None:
            seeds = config.all_seeds()
            share = (seeds.index(seed) + job.share(figures)) / len(seeds)
            report(row.name, f"seed {seed}, {job.place(figures)}", share)

    run_folder = folder / row.name
    summary = run(job, run_folder, command=command, resume=True, report=each)
    folders = seed_folders(config, run_folder).values()
    values = {
        expected.quantity.name: [_value(expected.quantity, seed_folder) for seed_folder in folders]
        for expected in row.expectations
    }
    files.write_json(path, files.with_checksum({**labels, "values": values, **summary}))
    return values


def _value(quantity: Quantity, folder: Path) -> float:
    """Reads a quantity from the run folder of one seed, in the displayed unit."""
    stem, *names = quantity.path
    if stem == "summary":
        value = read_json(folder / "summary.json")
    else:
        value = read_metrics(folder)[0 if stem == "first-metrics" else -1]
    for name in names:
        value = value[name]
    # A number that is not finite is written as null.
    return float("nan") if value is None else quantity.scale * value


def _finished(row: Row, config: Config, path: Path) -> dict[str, list[float]]:
    """Reads the values in the file of a finished row.

    **Raises:** `ConfigError` if the file is damaged or belongs to another configuration.
    """
    try:
        file = files.read_record(path)
        stored = type(config).from_json(file["config"], str(path)).identity()
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
    identity = config.identity()
    for name in {**identity, **stored}:
        if stored.get(name) != identity.get(name):
            raise ConfigError(
                f"{path} is of a run with {name} = {stored.get(name)}, and the row is "
                f"{identity.get(name)} now: "
                "name another folder with --out DIR."
            )
    return values


def _strength(path: Path) -> str | None:
    """Reads from the file of a finished row how strong control was, if it had any."""
    strength = files.read_record(path).get("strength")
    if not isinstance(strength, dict) or strength.get("removed_mean") is None:
        return None
    return f"{100 * strength['removed_mean']:.1f} % ({strength_shown(strength)})"


def _recorded(
    experiment: Experiment, reduction: Reduction | None
) -> dict[tuple[str, str], Measured]:
    """Reads what was measured with a reduction before, by row and quantity."""
    if reduction is None:
        return {}
    return {
        (entry["row"], entry["quantity"]): Measured(tuple(entry["values"]))
        for entry in files.read_json(RECORDED)
        if (entry["experiment"], entry["reduced"]) == (experiment.name, reduction.sentence)
    }


def _judged(
    row: Row,
    values_of: dict[str, dict[str, list[float]] | str],
    recorded: dict[tuple[str, str], Measured] | None,
) -> list[Judged]:
    """Judges the quantities of a row, given the values of each row, or the error that ended it.

    `recorded` has what was measured before with the reduction of the row, if it has one.
    """
    judged = []
    values = values_of[row.name]
    for expected in row.expectations:
        quantity, published = expected.quantity, None
        if recorded is not None:
            published = expected.shown()
            expected = expected.when_reduced(recorded.get((row.name, quantity.name)))
        if isinstance(values, str):
            words = (row.name, quantity.name, "–", expected.shown(), f"failed: {values}")
            judged.append(Judged(*words, failed=True, published=published))
            continue
        of_rows = {
            name: Measured(tuple(other[quantity.name]))
            for name, other in values_of.items()
            if isinstance(other, dict) and quantity.name in other
        }
        measured = of_rows[row.name]
        judged.append(
            Judged(
                row.name,
                quantity.name,
                measured.shown(quantity),
                expected.shown(),
                expected.verdict(measured, of_rows),
                values=measured.values,
                published=published,
            )
        )
    return judged
