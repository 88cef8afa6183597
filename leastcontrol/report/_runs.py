"""Reading run folders."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import files
from .._names import inside, printable, without_passwords


class ReportError(ValueError):
    """A folder is no run, or is damaged; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One seed of a run.

    * `epochs`: the figures of its epochs, by name; among them `accuracy` of the validation samples,
      or `mean_squared_error` where their targets are vectors.
    * `diagnostics`: what it measured of itself after each, by name and by the part of the system;
      empty where it did not.
    * `summary`: if it is finished.
    """

    seed: int
    epochs: dict[str, list[float]]
    diagnostics: dict[str, dict[str, list[float]]]
    summary: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A run.

    * `name`: among the others.
    * `folder`: of its first seed, which is the run's own where there is one seed.
    * `config`, `command`, `commit`, `versions`: as it was started.
    * `trials`: its seeds that have an epoch.
    * `sample`: what `sample.json` in `folder` holds, if there is one.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    command: str | None
    commit: str | None
    versions: dict[str, str]
    trials: tuple[Trial, ...]
    sample: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The folder of paired trials: its differences as `leastcontrol compare` wrote them."""

    name: str
    command: str | None
    differences: tuple[dict[str, Any], ...]


# The figures of an epoch that are drawn. A number that was not finite is `null` in the file.
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
    """Returns the runs in run folders and in the folders of comparisons.

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
            found = Comparison(
                _name(folder), _command(values["command"]), tuple(values["differences"])
            )
        except (KeyError, TypeError) as error:
            raise ReportError(f"{path} holds no comparison: it is damaged.") from error
        except ValueError as error:
            raise ReportError(
                f"{path} names what is no run of it ({error}): it is damaged, or made to show what "
                "lies elsewhere."
            ) from error
        paths += arms
        comparisons.append(found)
    for path in paths:
        runs.append(_run(path))
    names = [run.name for run in runs]
    return [
        dataclasses.replace(run, name=printable(path)) if names.count(run.name) > 1 else run
        for run, path in zip(runs, paths, strict=True)
    ], comparisons


def _name(folder: Path) -> str:
    return printable(folder.resolve().name or folder)


def _run(folder: Path) -> Run:
    path = folder / "config.json"
    if not path.is_file():
        raise ReportError(
            f"{folder} is not a run folder, for it has no config.json: give the folder that "
            "`leastcontrol train --out DIR` or `leastcontrol compare --out DIR` wrote."
        )
    config = _json(path)
    if not isinstance(config, dict):
        raise ReportError(f"{path} holds no configuration: it is damaged.")
    seeds = config.get("seeds") or [config.get("seed") or 0]
    if not isinstance(seeds, list) or not all(type(own) is int for own in seeds):
        raise ReportError(
            f"{path} has seeds = {seeds!r}, which are no whole numbers: it is damaged."
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
    summary = _summary(folder) or next((own.summary for own in trials if own.summary), {})
    return Run(
        _name(folder),
        first,
        config,
        *_origin(summary, folder),
        tuple(own for own in trials if own.epochs["epoch"]),
        _sample(first),
    )


def _origin(summary: dict[str, Any], folder: Path) -> tuple[Any, Any, dict[str, str]]:
    """Returns the command, the commit and the versions of a summary."""
    versions = summary.get("versions") or {}
    try:
        if not isinstance(versions, dict):
            raise TypeError(versions)
        shown = {name: str(_text(own)) for name, own in versions.items()}
        return _command(summary.get("command")), _text(summary.get("commit")), shown
    except TypeError as error:
        raise ReportError(
            f"{folder / 'summary.json'} does not say where it comes from: it is damaged."
        ) from error


def _command(value: Any) -> str | None:
    """Returns the command that a file says it comes from; an older one may hold a password."""
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
            judged = (
                "mean_squared_error" if "mean_squared_error" in row["validation"] else "accuracy"
            )
            epochs.setdefault(judged, []).append(_number(row["validation"][judged]))
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
        times = [_number(own) for own in values["times"]]
        found = {"sample": int(values["sample"]), "target": int(values["target"]), "times": times}
        pixels = values["pixels"]
        found["pixels"] = None if pixels is None else [_numbers(row) for row in pixels]
        if pixels is not None and len({len(row) for row in pixels}) != 1:
            raise ValueError("an image has rows of one length")
        for name in ("free", "controlled"):
            own = values[name]
            found[name] = None if own is None else _way(own, len(times))
        if found["free"] is None:
            raise ValueError("a sample is always shown without control")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} holds no sample on its way to rest: remove it, or write it anew with "
            "leastcontrol report --sample 0."
        ) from error
    return found


def _way(own: dict[str, Any], count: int) -> dict[str, Any]:
    rest = own["rest"]
    way = {
        "loss": _numbers(own["loss"], count),
        "plane": [_numbers(place, 2) for place in own["plane"]],
        "control": {
            printable(name): _numbers(line, count) for name, line in own["control"].items()
        },
        "rest": {
            "loss": _number(rest["loss"]),
            "plane": _numbers(rest["plane"], 2),
            "probabilities": _numbers(rest["probabilities"]),
            "control": {printable(name): _number(rest["control"][name]) for name in own["control"]},
            "solved": bool(rest["solved"]),
        },
    }
    if len(way["plane"]) != count:
        raise ValueError("not a state for each time")
    return way


def _numbers(values: Any, count: int | None = None) -> list[float]:
    found = [_number(own) for own in values]
    if count is not None and len(found) != count:
        raise ValueError(f"{len(found)} numbers instead of {count}")
    return found


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _json(path: Path) -> Any:
    try:
        return files.read_of_run(path.parent, path.name)
    except (OSError, files.FileError) as error:
        raise ReportError(str(error)) from error
