"""Searches for the options of a training, by its validation split alone.

What is best there is what the data are judged by: the accuracy, or the mean squared error.

Optuna proposes the options and stops what is hopeless; each trial is a run like any other, by
`train.run_training`, into `OUT/trials/NUMBER/run`. The trials' figures are in a store that several
workers share, in several processes or on several machines: by default a SQLite file,
`OUT/study.db`.

A worker holds a trial's folder while it runs it. So a trial that counts as running while nobody
holds its folder has been interrupted: the next worker that comes by takes it up, under a new number
and in the old folder, and its training goes on from the last checkpoint.
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
    """A trial is stopped, for others were better at this epoch."""


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
    """Runs trials until enough are finished or running, and returns the sweep that it wrote.

    **Arguments:**

    * `config`: what is searched.
    * `out`: a folder for the sweep, new or of this sweep; several workers may share it.
    * `trials`: how many all workers together are to finish.
    * `store`: URL of the database that the workers share, as SQLAlchemy takes it.
    * `report`: called with trial, seed and metrics when an epoch is saved, and may raise to stop
      the worker there. `done`: called with the row of a trial that was finished.

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
    """Raises `ConfigError` where the trials in a store are damaged."""
    try:
        study.get_trials(deepcopy=False)
    except (
        *(ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError),
    ) as error:
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> ConfigError:
    # The first line: what follows is SQL.
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    if not reason or reveals(reason, url):
        reason = type(error).__name__
    return ConfigError(
        f"The store {hide_password(url)} cannot be used ({reason}): give the URL of a database, "
        "such as sqlite:///sweep.db, or leave --store out."
    )


def _claim(config: SweepConfig, folder: training.RunFolder) -> None:
    """Writes a sweep into a new folder, or checks it against the one that is there."""
    ours = json.loads(json.dumps(config.as_json()))

    def check(theirs: Any, _: Path) -> None:
        if theirs != ours:
            raise ConfigError(
                f"{folder.path} holds another sweep, or something else: name a new folder with "
                "--out DIR, or give the file of that sweep."
            )

    claim_as(folder, ours, check)


def _study(config: SweepConfig, url: str) -> optuna.Study:
    # Waits for the writers of the same file longer than a write takes.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {}
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (TypeError, ValueError) as error:
        # A port that is no number, or an option that the driver does not have.
        raise _unusable(url, error) from error
    return optuna.create_study(
        storage=storage,
        # Sweeps in one database are told apart by what they search.
        study_name=f"leastcontrol-{_checksum(config)}",
        direction="maximize" if _measure(config).rising else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )


def _measure(config: SweepConfig) -> Measure:
    """Returns what all trials are judged by; their data are given and not searched."""
    return measure_of(RunConfig.of(**config.train))


def _checksum(config: SweepConfig) -> str:
    text = json.dumps(config.as_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _distributions(config: SweepConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    return {name: _distribution(own) for name, own in config.search.items()}


def _distribution(own: Choices | Range) -> optuna.distributions.BaseDistribution:
    if isinstance(own, Choices):
        return optuna.distributions.CategoricalDistribution([_token(v) for v in own.values])
    if isinstance(own.low, int):
        return optuna.distributions.IntDistribution(own.low, int(own.high), log=own.log)
    return optuna.distributions.FloatDistribution(own.low, own.high, log=own.log)


def _token(value: Any) -> Any:
    """Returns a choice as the store can hold it."""
    return json.dumps(value) if isinstance(value, tuple) else value


def _chosen(config: SweepConfig, params: dict[str, Any]) -> dict[str, Any]:
    """Returns the values that a trial's parameters stand for."""
    found = {}
    for name, own in config.search.items():
        found[name] = params[name]
        if isinstance(own, Choices):
            found[name] = next(v for v in own.values if _token(v) == params[name])
    return found


def _take_up(study: optuna.Study, out: Path) -> None:
    """Puts the trials whose workers have ended back into the queue."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = _named(trial, "folder", out)
        # Without a folder here it is another machine's, or has not begun.
        if folder is None or not folder.is_dir():
            continue
        with contextlib.suppress(training.FolderError):
            with training.RunFolder.held(folder, resume=True):
                # Another worker may have come first.
                if study.get_trials(deepcopy=False)[trial.number].state is TrialState.RUNNING:
                    study.tell(trial.number, state=TrialState.FAIL)
                    study.enqueue_trial(trial.params, user_attrs={"continues": folder.name})


def _named(trial: FrozenTrial | Trial, attribute: str, out: Path) -> Path | None:
    """Returns the folder that the store names for a trial, if it names one.

    **Raises:** `ConfigError` where it names one that is not a trial's.
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
        # Only now, when it is held: see `_take_up`.
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
    """Returns what the validation samples say of all epochs so far, seed by seed."""
    name = measure_of(run).name
    found = [
        row["validation"][name]
        for own in seed_folders(run, path).values()
        for row in read_metrics(own)
    ]
    # A number that is not finite is written as null.
    return [math.nan if value is None else value for value in found]


def _write(
    study: optuna.Study, config: SweepConfig, out: Path, command: str | None
) -> dict[str, Any]:
    """Writes `sweep.json` and, when a trial is complete, `best.toml`; returns the first."""
    with training.RunFolder.held(out, resume=True, wait=True) as folder:
        rows = [
            _row(own, config, out)
            for own in study.get_trials(deepcopy=False)
            if own.state in FINISHED
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
