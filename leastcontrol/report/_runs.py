"""Reading of run folders for reports."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import files
from .._names import inside, printable, without_passwords
from ._labels import short_labels


class ReportError(ValueError):
    """Raised if a folder is not a run or is damaged, with a one-sentence message."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One seed of a run.

    * `epochs`: the figures of every epoch, by name. They include `accuracy` of the validation
      samples, or `mean_squared_error` if the targets are vectors.
    * `diagnostics`: the diagnostics of every epoch, by name and part of the system; may be empty.
    * `summary`: the summary of a finished trial.
    """

    seed: int
    epochs: dict[str, list[float]]
    diagnostics: dict[str, dict[str, list[float]]]
    summary: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The answers to test samples, summed over the finished seeds.

    * `counts`: by the class of the sample, then by the answer.
    * `unsolved`: samples of each class whose rest point was not found.
    """

    counts: tuple[tuple[int, ...], ...]
    unsolved: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run with one or several seeds.

    * `name`: unique name in the report.
    * `label`: short name, also unique.
    * `folder`: folder of the first seed; that of the run if there is one seed.
    * `config`, `command`, `commit`, `versions`: how the run was started.
    * `seeds`: number of seeds that the run was started with.
    * `trials`: the seeds that have finished an epoch.
    * `sample`: content of `sample.json` in `folder`, if it exists.
    * `strength`: what the summary of its first finished seed says of the strength of control; what
      set it is α (`alpha`) or the share that was asked for (`asked`). `None` without control.
    * `confusion`: of a classifier whose summaries count the answers.
    """

    name: str
    label: str
    folder: Path
    config: dict[str, Any]
    command: str | None
    commit: str | None
    versions: dict[str, str]
    seeds: int
    trials: tuple[Trial, ...]
    sample: dict[str, Any] | None
    strength: dict[str, Any] | None
    confusion: Confusion | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The differences of paired trials, as written by `leastcontrol compare`."""

    name: str
    command: str | None
    differences: tuple[dict[str, Any], ...]


# Figures of an epoch that every run has. The files store numbers that are not finite as `null`.
EPOCH_FIGURES = (
    "epoch",
    "loss",
    "control_energy",
    "converged_fraction",
    "residual_max",
    "steps_mean",
    "seconds",
)


def read(folders: Sequence[Path]) -> tuple[list[Run], list[Comparison]]:
    """Reads the runs in run folders and comparison folders, and the comparisons.

    **Raises:** `ReportError` for a folder that is neither, or is damaged.
    """
    runs, comparisons, paths = [], [], []
    for folder in folders:
        path = folder / "comparison.json"
        if not path.is_file():
            paths.append(folder)
            continue
        values = _json(path)
        try:
            arms = [inside(folder, arm["folder"]) for arm in values["arms"]]
            comparison = Comparison(
                _name(folder), _command(values["command"]), tuple(values["differences"])
            )
        except (KeyError, TypeError) as error:
            raise ReportError(f"{path} holds no comparison: it is damaged.") from error
        except ValueError as error:
            raise ReportError(
                f"{path} names a folder that is not one of its runs ({error}): it is damaged, or "
                "was made to show files from elsewhere."
            ) from error
        paths += arms
        comparisons.append(comparison)
    for path in paths:
        runs.append(_run(path))
    names = [run.name for run in runs]
    unique = [
        printable(path) if names.count(name) > 1 else name
        for name, path in zip(names, paths, strict=True)
    ]
    return [
        dataclasses.replace(run, name=name, label=label)
        for run, name, label in zip(runs, unique, short_labels(unique), strict=True)
    ], comparisons


def _name(folder: Path) -> str:
    return printable(folder.resolve().name or folder)


def _run(folder: Path) -> Run:
    path = folder / "config.json"
    if not path.is_file():
        raise ReportError(
            f"{folder} is not a run folder, because it has no config.json: give the folder that "
            "`leastcontrol train --out DIR` or `leastcontrol compare --out DIR` wrote."
        )
    config = _json(path)
    if not isinstance(config, dict):
        raise ReportError(f"{path} holds no configuration: it is damaged.")
    seeds = config.get("seeds") or [config.get("seed") or 0]
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise ReportError(
            f"{path} has seeds = {seeds!r}, which are not whole numbers: it is damaged."
        )
    if len(seeds) > 1:
        try:
            places = [inside(folder, f"seed-{seed}") for seed in seeds]
        except ValueError as error:
            raise ReportError(
                f"{folder} holds no run of several seeds ({error}): it is damaged."
            ) from error
    else:
        places = [folder]
    first = places[0]
    trials = [_trial(place, seed) for place, seed in zip(places, seeds, strict=True)]
    summary = _summary(folder) or next((trial.summary for trial in trials if trial.summary), {})
    name = _name(folder)
    return Run(
        name,
        name,
        first,
        config,
        *_origin(summary, folder),
        len(seeds),
        tuple(trial for trial in trials if trial.epochs["epoch"]),
        _sample(first),
        _strength([trial.summary for trial in trials if trial.summary], config),
        _confusion([trial.summary for trial in trials if trial.summary], folder),
    )


def _strength(summaries: Sequence[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any] | None:
    """Reads what set the strength of control; older summaries leave that to the configuration."""
    strength = summaries[0].get("strength") if summaries else None
    if not isinstance(strength, dict):
        return None
    return {"alpha": config.get("alpha"), "asked": config.get("strength"), **strength}


def _confusion(summaries: Sequence[dict[str, Any]], folder: Path) -> Confusion | None:
    """Sums the counts of answers in the summaries of all finished seeds."""
    if not summaries or any("confusion" not in summary for summary in summaries):
        return None
    try:
        counted = [summary["confusion"] for summary in summaries]
        each = [[*map(_counts, one["counts"]), _counts(one["unsolved"])] for one in counted]
        *counts, unsolved = [
            tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*each, strict=True)
        ]
        if any(len(row) != len(counts) for row in (*counts, unsolved)):
            raise ValueError("not a square of counts")
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{folder} has a summary whose counts of answers are no square: it is damaged."
        ) from error
    return Confusion(tuple(counts), unsolved)


def _counts(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(type(v) is int and v >= 0 for v in values):
        raise ValueError(values)
    return values


def _origin(summary: dict[str, Any], folder: Path) -> tuple[Any, Any, dict[str, str]]:
    """Reads command, commit and versions from a summary."""
    versions = summary.get("versions") or {}
    try:
        if not isinstance(versions, dict):
            raise TypeError(versions)
        shown = {name: str(_text(version)) for name, version in versions.items()}
        return _command(summary.get("command")), _text(summary.get("commit")), shown
    except TypeError as error:
        raise ReportError(
            f"{folder / 'summary.json'} has no valid command, commit or versions: it is damaged."
        ) from error


def _command(value: Any) -> str | None:
    """Reads a command and removes passwords, which older files may contain."""
    text = _text(value)
    return None if text is None else without_passwords(text)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value


def _trial(folder: Path, seed: int) -> Trial:
    path = folder / "metrics.jsonl"
    epochs: dict[str, list[float]] = {name: [] for name in EPOCH_FIGURES}
    diagnostics: dict[str, dict[str, list[float]]] = {}
    try:
        lines, required = files.metrics_lines(folder), files.is_sealed_run(folder)
    except files.FileError as error:
        raise ReportError(str(error)) from error
    for number, line in enumerate(lines, 1):
        try:
            row = files.parse_metrics(folder, number, line, required=required)
            for name in EPOCH_FIGURES:
                epochs[name].append(_number(row[name]))
            measure = (
                "mean_squared_error" if "mean_squared_error" in row["validation"] else "accuracy"
            )
            epochs.setdefault(measure, []).append(_number(row["validation"][measure]))
            if row.get("removed") is not None:
                epochs.setdefault("removed", []).append(_number(row["removed"]))
            for name, places in (row.get("diagnostics") or {}).items():
                for place, value in places.items():
                    line = diagnostics.setdefault(name, {}).setdefault(printable(place), [])
                    line.append(_number(value))
        except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ReportError(
                f"Line {number} of {path} holds no figures of an epoch: it is damaged, or of "
                "another version."
            ) from error
    count = len(epochs["epoch"])
    # A share that could not be measured in some epoch is not drawn.
    epochs = {name: line for name, line in epochs.items() if len(line) == count}
    whole = {
        name: {place: line for place, line in places.items() if len(line) == count}
        for name, places in diagnostics.items()
    }
    return Trial(seed, epochs, whole, _summary(folder))


def _summary(folder: Path) -> dict[str, Any] | None:
    path = folder / "summary.json"
    if not path.is_file():
        return None
    values = _json(path)
    if not isinstance(values, dict):
        raise ReportError(f"{path} holds no summary: it is damaged.")
    return values


def _sample(folder: Path) -> dict[str, Any] | None:
    path = folder / "sample.json"
    if not path.is_file():
        return None
    values = _json(path)
    try:
        times = [_number(time) for time in values["times"]]
        sample = {"sample": int(values["sample"]), "target": int(values["target"]), "times": times}
        pixels = values["pixels"]
        sample["pixels"] = None if pixels is None else [_numbers(row) for row in pixels]
        if pixels is not None and len({len(row) for row in pixels}) != 1:
            raise ValueError("an image has rows of one length")
        for name in ("free", "controlled"):
            way = values[name]
            sample[name] = None if way is None else _way(way, len(times))
        if sample["free"] is None:
            raise ValueError("a sample is always shown without control")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} holds no trajectory of a sample: remove it, or write it again with "
            "leastcontrol report --sample 0."
        ) from error
    return sample


def _way(values: dict[str, Any], count: int) -> dict[str, Any]:
    rest = values["rest"]
    way = {
        "loss": _numbers(values["loss"], count),
        "plane": [_numbers(place, 2) for place in values["plane"]],
        "control": {
            printable(name): _numbers(line, count) for name, line in values["control"].items()
        },
        "rest": {
            "loss": _number(rest["loss"]),
            "plane": _numbers(rest["plane"], 2),
            "probabilities": _numbers(rest["probabilities"]),
            "control": {
                printable(name): _number(rest["control"][name]) for name in values["control"]
            },
            "solved": bool(rest["solved"]),
        },
    }
    if len(way["plane"]) != count:
        raise ValueError("not a state for each time")
    return way


def _numbers(values: Any, count: int | None = None) -> list[float]:
    numbers = [_number(value) for value in values]
    if count is not None and len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers instead of {count}")
    return numbers


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _json(path: Path) -> Any:
    try:
        return files.read_of_run(path.parent, path.name)
    except (OSError, files.FileError) as error:
        raise ReportError(str(error)) from error
