"""Comparisons of rules by paired trials.

On each system, all rules are trained with the same seeds. A seed determines the initial weights and
the order of the samples, independently of the rule. The difference between two rules is therefore
taken seed by seed, which removes the variance that they share. Each arm, a rule on a system, has a
separate run folder. The files `comparison.json` and `comparison.csv` beside these folders contain
the figures.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files, training
from .._names import strength_shown
from .config import RunConfig
from .folders import read_metrics, seed_folders
from .measures import measure_of, summary_measures
from .options import ConfigError, flag
from .origin import origin
from .runner import claim_as
from .spread import mean_and_error
from .train import run_training

VERB = "compare"

# Options that all arms of one system share, in addition to those that all arms share.
SYSTEM_OPTIONS = ("system", "hidden", "activation", "initialisation")
SHARED_OPTIONS = (
    "data",
    "data_dir",
    "preprocessing",
    "validation_fraction",
    "split_seed",
    "batch_size",
    "seed",
    "seeds",
)
# Shares of the free loss that control removed: the mean over a training, and in its last epoch.
SHARES = ("removed_mean", "removed_end")
# Compared figures in addition to the measures of quality.
FIGURES = (
    "control_norm",
    "converged_fraction",
    *SHARES,
    "step_ms_median",
    "step_bytes",
    "training_seconds",
    "epochs_to_target",
    "seconds_to_target",
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One rule on one system, by the words on the command line, and its configuration."""

    rule: str
    system: str
    config: RunConfig

    @property
    def folder(self) -> str:
        """The name of the arm's run folder."""
        return re.sub(r"[^\w.]+", "-", f"{self.system} {self.rule}").strip("-")


def check_arms(arms: Sequence[Arm]) -> None:
    """Raises `ConfigError` if arms cannot be run or are not paired trials."""
    first_of: dict[str, Arm] = {}
    for arm in arms:
        try:
            arm.config.check()
        except ConfigError as error:
            raise ConfigError(f"The rule {arm.rule} on {arm.system} cannot run: {error}") from error
        same_system = first_of.setdefault(arm.system, arm)
        for first, names in ((arms[0], SHARED_OPTIONS), (same_system, SYSTEM_OPTIONS)):
            for name in names:
                one, other = (each.config.value(name) for each in (arm, first))
                if one != other:
                    raise ConfigError(
                        f"{flag(name)} is {one} for {arm.rule} on {arm.system} and {other} for "
                        f"{first.rule} on {first.system}, but paired trials share it: give it once "
                        "for all of them."
                    )
    names = [arm.folder for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"The arm {name} is given twice: write it once.")


def compare(
    arms: Sequence[Arm],
    out: Path,
    *,
    target: float | None = None,
    command: str | None = None,
    resume: bool = False,
    report: Callable[[Arm, int, training.EpochMetrics], None] | None = None,
) -> dict[str, Any]:
    """Trains all arms, and writes and returns their comparison.

    **Arguments:**

    * `arms`: the first rule on each system is the one that the others are compared with.
    * `out`: a new folder.
    * `target`: the value on the validation samples up to which epochs and seconds are counted: an
      accuracy between 0 and 1, or a mean squared error.
    * `command`: the command line, for the files.
    * `resume`: whether to continue the comparison in `out`.
    * `report`: called when an epoch is saved.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError`, `training.TrainingError`.
    """
    check_arms(arms)
    rows = []
    with training.RunFolder.held(out, resume=resume) as whole:
        _claim(arms, whole)
        for arm in arms:

            def each(seed: int, metrics: training.EpochMetrics, arm: Arm = arm) -> None:
                if report is not None:
                    report(arm, seed, metrics)

            folder = out / arm.folder
            run_training(arm.config, folder, command=command, resume=resume, report=each)
            rows.append(_row(arm, folder, target))
        comparison = {
            **origin(command),
            "target": target,
            "arms": rows,
            "differences": _differences(rows, _figures(arms[0].config)),
        }
        whole.write_record("comparison.json", comparison)
        whole.write("comparison.csv", files.as_csv(_epochs(rows)))
    return comparison


def _claim(arms: Sequence[Arm], folder: training.RunFolder) -> None:
    """Writes the arms into a new folder, or compares them with the arms in an existing one.

    **Raises:** `ConfigError` if the folder contains anything else.
    """
    ours = {
        "verb": VERB,
        "arms": [{"rule": arm.rule, "system": arm.system, "folder": arm.folder} for arm in arms],
    }

    def check(theirs: Any, _: Path) -> None:
        if theirs != ours:
            raise _other(folder)

    if (folder.path / "config.json").exists() or folder.is_empty():
        claim_as(folder, ours, check)
        return
    # Earlier versions wrote no config.json; then the folder contains only the arms' folders.
    known = {arm.folder for arm in arms} | {"comparison.json", "comparison.csv"}
    others = [file.name for file in folder.path.iterdir() if not file.name.startswith(".")]
    if not set(others) <= known:
        raise _other(folder)
    folder.write_record("config.json", ours)


def _other(folder: training.RunFolder) -> ConfigError:
    return ConfigError(
        f"{folder.path} holds another comparison, or something else: name a new folder with --out "
        "DIR, or repeat the rules and systems of that comparison."
    )


def _judged(config: RunConfig) -> tuple[str, ...]:
    """Lists the measures in a summary that arms are compared by."""
    return tuple(name for name in summary_measures(config) if not name.startswith("train_"))


def _figures(config: RunConfig) -> tuple[str, ...]:
    return (*_judged(config), *FIGURES)


def _row(arm: Arm, folder: Path, target: float | None) -> dict[str, Any]:
    """Reads the figures of all seeds of an arm, and computes their means and standard errors."""
    trials = []
    for seed, seed_folder in seed_folders(arm.config, folder).items():
        try:
            summary = files.read_of_run(seed_folder, "summary.json")
            epochs = read_metrics(seed_folder)
            trials.append(_trial(arm.config, seed, summary, epochs, target))
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise training.FolderError(
                f"{seed_folder} does not hold the figures of a finished run: it is damaged; remove "
                "that folder, and its run is made again."
            ) from error
    values = {name: [trial[name] for trial in trials] for name in _figures(arm.config)}
    return {
        "rule": arm.rule,
        "system": arm.system,
        "folder": arm.folder,
        "strength": _set_by(trials),
        "mean": {name: mean_and_error(of_seeds)[0] for name, of_seeds in values.items()},
        "standard_error": {name: mean_and_error(of_seeds)[1] for name, of_seeds in values.items()},
        "seeds": trials,
    }


def _set_by(trials: Sequence[dict[str, Any]]) -> str | None:
    """Returns what set the strength of control, for a rule that has one."""
    strength = trials[0]["strength"]
    return None if strength is None else strength_shown(strength)


def _trial(
    config: RunConfig,
    seed: int,
    summary: dict[str, Any],
    epochs: list[dict[str, Any]],
    target: float | None,
) -> dict[str, Any]:
    measure = measure_of(config)
    name = f"validation_{measure.name}"
    seconds, curve = 0.0, []
    for epoch in epochs:
        seconds += epoch["seconds"]
        curve.append(
            {
                "epoch": epoch["epoch"],
                "updates": epoch["updates"],
                "seconds": seconds,
                name: epoch["validation"][measure.name],
                **{
                    figure: epoch[figure]
                    for figure in ("loss", "control_norm", "converged_fraction")
                },
            }
        )
    reached = [
        point
        for point in curve
        # A number that is not finite is stored as null.
        if target is not None and point[name] is not None and measure.reached(point[name], target)
    ]
    return {
        "seed": seed,
        **{figure: summary[figure] for figure in _judged(config)},
        "control_norm": curve[-1]["control_norm"],
        "converged_fraction": summary["solve"]["converged_fraction"],
        # Of a rule without control nothing is removed.
        "strength": summary.get("strength"),
        **{name: (summary.get("strength") or {}).get(name) for name in SHARES},
        "step_ms_median": summary["step_ms_median"],
        # It is 0 if XLA does not report the memory.
        "step_bytes": epochs[-1]["step_bytes"] or None,
        "training_seconds": seconds,
        "epochs_to_target": reached[0]["epoch"] if reached else None,
        "seconds_to_target": reached[0]["seconds"] if reached else None,
        "epochs": curve,
    }


def _differences(rows: Sequence[dict[str, Any]], figures: Sequence[str]) -> list[dict[str, Any]]:
    """Subtracts the figures of each system's first rule from those of its others, seed by seed."""
    differences_of, first_of = [], {}
    for row in rows:
        first = first_of.setdefault(row["system"], row)
        if row is first:
            continue
        difference = {"system": row["system"], "rule": row["rule"], "less": first["rule"]}
        for name in figures:
            pairs = [
                (one[name], other[name])
                for one, other in zip(row["seeds"], first["seeds"], strict=True)
            ]
            differences = [None if None in pair else pair[0] - pair[1] for pair in pairs]
            mean, error = mean_and_error(differences)
            difference[name] = {"mean": mean, "standard_error": error, "pairs": len(pairs)}
        differences_of.append(difference)
    return differences_of


def _epochs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lists the epochs of all trials as rows of a table."""
    return [
        {"system": row["system"], "rule": row["rule"], "seed": trial["seed"], **epoch}
        for row in rows
        for trial in row["seeds"]
        for epoch in trial["epochs"]
    ]
