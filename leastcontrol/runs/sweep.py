"""Searches for the options of a training, by the measure of its validation split.

Optuna proposes the options and stops trials that are worse than the median. Each trial is a run by
`train.run_training`, in `OUT/trials/NUMBER/run`. The results of the trials are in a store that
several workers share, in several processes or on several machines; by default it is a SQLite file,
`OUT/study.db`.

A worker holds the folder of a trial while it runs the trial. If a trial counts as running but no
worker holds its folder, it was interrupted. The next worker continues it under a new number in the
old folder, and its training resumes at the last checkpoint.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from .. import training
from .._names import hide_password, inside, reveals
from .config import RunConfig
from .config_file import as_toml
from .folders import read_metrics, seed_folders
from .measures import Measure, measure_of
from .options import ConfigError
from .origin import origin
from .runner import claim_as
from .sweep_config import Choices, Range, SweepConfig
from .train import run_training

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
Report = Callable[[int, int, training.EpochMetrics], None]
Done = Callable[[dict[str, Any]], None]


class _Hopeless(Exception):
    """Stops a trial that is worse than the others at this epoch."""


def sweep(
    config: SweepConfig,
    out: Path,
    *,
    trials: int,
    store: str | None = None,
    command: str | None = None,
    report: Report | None = None,
    done: Done | None = None,
) -> dict[str, Any]:
    """Runs trials until enough are finished or running, and writes and returns the sweep.

    **Arguments:**

    * `config`: the search space.
    * `out`: a folder, new or of the same sweep; several workers may share it.
    * `trials`: the number of trials that all workers finish together.
    * `store`: the URL of the database that the workers share, as for SQLAlchemy.
    * `command`: the command line, for the files.
    * `report`: called with trial, seed and metrics when an epoch is saved; may raise to stop the
      worker there.
    * `done`: called with the row of each finished trial.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`.
    """
    url = store or f"sqlite:///{out / 'study.db'}"
    with _store_errors(url):
        with training.RunFolder.held(out, resume=True, wait=True) as folder:
            _claim(config, folder)
            study = _study(config, url)
            _check_store(study, url)
        while True:
            _take_up(study, out)
            if len(study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))) >= (
                trials
            ):
                break
            trial = study.ask(_distributions(config))
            _run(trial, study, config, out, command, report)
            result = _write(study, config, out, command)
            if done is not None:
                done(next(row for row in result["trials"] if row["number"] == trial.number))
        return _write(study, config, out, command)


@contextlib.contextmanager
def _store_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        raise _unusable(url, error) from error


def _check_store(study: optuna.Study, url: str) -> None:
    """Raises `ConfigError` if the trials in a store are damaged."""
    try:
        study.get_trials(deepcopy=False)
    except (
        *(ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError),
    ) as error:
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> ConfigError:
    # The lines after the first are SQL.
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    if not reason or reveals(reason, url):
        reason = type(error).__name__
    return ConfigError(
        f"The store {hide_password(url)} cannot be used ({reason}): give the URL of a database, "
        "such as sqlite:///sweep.db, or leave --store out."
    )


def _claim(config: SweepConfig, folder: training.RunFolder) -> None:
    """Writes a sweep into a new folder, or compares it with the sweep in an existing one."""
    ours = json.loads(json.dumps(config.as_json()))

    def check(theirs: Any, _: Path) -> None:
        if theirs != ours:
            raise ConfigError(
                f"{folder.path} holds another sweep, or something else: name a new folder with "
                "--out DIR, or give the file of that sweep."
            )

    claim_as(folder, ours, check)


def _study(config: SweepConfig, url: str) -> optuna.Study:
    # The timeout in seconds for other writers is longer than a write takes.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {}
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (TypeError, ValueError) as error:
        # For example a port that is not a number, or an option that the driver does not have.
        raise _unusable(url, error) from error
    return optuna.create_study(
        storage=storage,
        # Sweeps in one database are distinguished by their search spaces.
        study_name=f"leastcontrol-{_checksum(config)}",
        direction="maximize" if _measure(config).rising else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )


def _measure(config: SweepConfig) -> Measure:
    """Chooses the measure of all trials, which have the same data."""
    return measure_of(RunConfig.of(**config.train))


def _checksum(config: SweepConfig) -> str:
    text = json.dumps(config.as_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _distributions(config: SweepConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    return {name: _distribution(space) for name, space in config.search.items()}


def _distribution(space: Choices | Range) -> optuna.distributions.BaseDistribution:
    if isinstance(space, Choices):
        return optuna.distributions.CategoricalDistribution([_token(v) for v in space.values])
    if isinstance(space.low, int):
        return optuna.distributions.IntDistribution(space.low, int(space.high), log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _token(value: Any) -> Any:
    """Encodes a choice in a form that the store accepts."""
    return json.dumps(value) if isinstance(value, tuple) else value


def _chosen(config: SweepConfig, params: dict[str, Any]) -> dict[str, Any]:
    """Decodes the parameters of a trial."""
    chosen = {}
    for name, space in config.search.items():
        chosen[name] = params[name]
        if isinstance(space, Choices):
            chosen[name] = next(v for v in space.values if _token(v) == params[name])
    return chosen


def _take_up(study: optuna.Study, out: Path) -> None:
    """Queues once more the trials whose workers have ended."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = _named(trial, "folder", out)
        # A trial without a folder runs on another machine, or has not begun.
        if folder is None or not folder.is_dir():
            continue
        with contextlib.suppress(training.FolderError):
            with training.RunFolder.held(folder, resume=True):
                # Another worker may have taken the trial in the meantime.
                if study.get_trials(deepcopy=False)[trial.number].state is TrialState.RUNNING:
                    study.tell(trial.number, state=TrialState.FAIL)
                    study.enqueue_trial(trial.params, user_attrs={"continues": folder.name})


def _named(trial: FrozenTrial | Trial, attribute: str, out: Path) -> Path | None:
    """Reads the folder of a trial from the store; returns `None` if the store has none.

    **Raises:** `ConfigError` if it is not a folder of a trial.
    """
    name = trial.user_attrs.get(attribute)
    if name is None:
        return None
    try:
        return inside(out / "trials", name)
    except ValueError as error:
        raise ConfigError(
            f"The store cannot be used, for the folder that it names for trial {trial.number} is "
            f"none of {out / 'trials'} ({error}): give the sweep's own store, or leave --store out."
        ) from error


def _run(
    trial: Trial,
    study: optuna.Study,
    config: SweepConfig,
    out: Path,
    command: str | None,
    report: Report | None,
) -> None:
    place = _named(trial, "continues", out) or out / "trials" / f"{trial.number:04d}"
    run = config.configuration(_chosen(config, trial.params))
    with training.RunFolder.held(place, resume=True) as folder:
        # Written only while the folder is held, because of `_take_up`.
        trial.set_user_attr("folder", place.name)
        path, reported = folder.path / "run", 0

        def each(seed: int, metrics: training.EpochMetrics) -> None:
            nonlocal reported
            values = _values(run, path)
            for step in range(reported, len(values)):
                trial.report(values[step], step + 1)
            reported = len(values)
            if report is not None:
                report(trial.number, seed, metrics)
            if trial.should_prune():
                raise _Hopeless

        try:
            summary = run_training(run, path, command=command, resume=True, report=each)
        except _Hopeless:
            study.tell(trial, state=TrialState.PRUNED)
        except (ConfigError, training.TrainingError) as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, summary[f"validation_{measure_of(run).name}"])


def _values(run: RunConfig, path: Path) -> list[float]:
    """Reads the measure on the validation samples after each epoch so far, seed by seed."""
    name = measure_of(run).name
    values = [
        row["validation"][name]
        for folder in seed_folders(run, path).values()
        for row in read_metrics(folder)
    ]
    # A number that is not finite is stored as null.
    return [math.nan if value is None else value for value in values]


def _write(
    study: optuna.Study, config: SweepConfig, out: Path, command: str | None
) -> dict[str, Any]:
    """Writes `sweep.json` and, if a trial is complete, `best.toml`; returns the sweep."""
    with training.RunFolder.held(out, resume=True, wait=True) as folder:
        rows = [
            _row(trial, config, out)
            for trial in study.get_trials(deepcopy=False)
            if trial.state in FINISHED
        ]
        complete = [row for row in rows if row["complete"]]
        measure = _measure(config)
        name = f"validation_{measure.name}"
        choose = max if measure.rising else min
        best = choose(complete, key=lambda row: row[name], default=None)
        result = {
            **origin(command),
            "config": config.as_json(),
            "best": best,
            "trials": rows,
        }
        folder.write_record("sweep.json", result)
        if best is not None:
            comment = (
                f"Trial {best['number']} of a sweep: validation {measure.title} "
                f"{measure.shown(best[name])}."
            )
            text = as_toml({**config.train, **best["options"]}, comment)
            folder.write("best.toml", text)
    return result


def _row(trial: FrozenTrial, config: SweepConfig, out: Path) -> dict[str, Any]:
    folder = _named(trial, "folder", out)
    return {
        "number": trial.number,
        "folder": None if folder is None else folder.name,
        "options": _chosen(config, trial.params),
        "complete": trial.state is TrialState.COMPLETE,
        f"validation_{_measure(config).name}": trial.value,
        "epochs": len(trial.intermediate_values),
        "error": trial.user_attrs.get("error"),
    }
