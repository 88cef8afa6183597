"""Rules side by side as paired trials.

For each system every rule is trained with the same seeds. A seed fixes the first weights and the
order of the samples whatever the rule, so that the difference between two rules is taken seed by
seed, and what the seeds share falls out of it. Each arm, a rule on a system, is a run folder of its
own; `comparison.json` and `comparison.csv` beside them hold the figures.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files, training
from .config import RunConfig
from .folders import read_metrics, seed_folders
from .measures import measure_of, summary_measures
from .options import ConfigError, flag
from .origin import origin
from .runner import claim_as
from .spread import mean_and_error
from .train import run_training

VERB = "compare"

# What the arms of one system share, for their trials to be pairs, besides what the systems share.
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
# Besides what the data are judged by.
FIGURES = (
    "control_norm",
    "converged_fraction",
    "step_ms_median",
    "step_bytes",
    "training_seconds",
    "epochs_to_target",
    "seconds_to_target",
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One rule on one system, in the words that the reader sees, and its configuration."""

    rule: str
    system: str
    config: RunConfig

    @property
    def folder(self) -> str:
        """The name of the arm's run folder."""
        return re.sub(r"[^\w.]+", "-", f"{self.system} {self.rule}").strip("-")


def check_arms(arms: Sequence[Arm]) -> None:
    """Raises `ConfigError` for arms that cannot be run, or are no paired trials."""
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
    """Trains all arms into `out` and returns the comparison that it wrote.

    **Arguments:**

    * `arms`: the first rule on each system is what its others are compared with.
    * `out`: a new folder.
    * `target`: value of what the data are judged by, on the validation samples, to which epochs
      and seconds are counted: an accuracy, as a share, or a mean squared error.
    * `resume`: go on with what `out` holds.
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
    """Writes into a new folder what is compared, or checks it against what is there.

    **Raises:** `ConfigError` if the folder holds anything else.
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
    # Of a version that wrote none: then its folders are those of arms.
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
    """Returns the names of the summary's figures that arms are compared by."""
    return tuple(name for name in summary_measures(config) if not name.startswith("train_"))


def _figures(config: RunConfig) -> tuple[str, ...]:
    return (*_judged(config), *FIGURES)


def _row(arm: Arm, folder: Path, target: float | None) -> dict[str, Any]:
    """Returns an arm's figures of every seed, and their means and standard errors."""
    trials = []
    for seed, own in seed_folders(arm.config, folder).items():
        try:
            summary = files.read_of_run(own, "summary.json")
            epochs = read_metrics(own)
            trials.append(_trial(arm.config, seed, summary, epochs, target))
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise training.FolderError(
                f"{own} does not hold the figures of a finished run: it is damaged; remove that "
                "folder, and its run is made again."
            ) from error
    values = {name: [own[name] for own in trials] for name in _figures(arm.config)}
    return {
        "rule": arm.rule,
        "system": arm.system,
        "folder": arm.folder,
        "mean": {name: mean_and_error(own)[0] for name, own in values.items()},
        "standard_error": {name: mean_and_error(own)[1] for name, own in values.items()},
        "seeds": trials,
    }


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
    for own in epochs:
        seconds += own["seconds"]
        curve.append(
            {
                "epoch": own["epoch"],
                "updates": own["updates"],
                "seconds": seconds,
                name: own["validation"][measure.name],
                **{
                    figure: own[figure] for figure in ("loss", "control_norm", "converged_fraction")
                },
            }
        )
    reached = [
        own
        for own in curve
        # A figure that was not finite is null.
        if target is not None and own[name] is not None and measure.reached(own[name], target)
    ]
    return {
        "seed": seed,
        **{figure: summary[figure] for figure in _judged(config)},
        "control_norm": curve[-1]["control_norm"],
        "converged_fraction": summary["solve"]["converged_fraction"],
        "step_ms_median": summary["step_ms_median"],
        # Nothing is known of it where XLA tells nothing.
        "step_bytes": epochs[-1]["step_bytes"] or None,
        "training_seconds": seconds,
        "epochs_to_target": reached[0]["epoch"] if reached else None,
        "seconds_to_target": reached[0]["seconds"] if reached else None,
        "epochs": curve,
    }


def _differences(rows: Sequence[dict[str, Any]], figures: Sequence[str]) -> list[dict[str, Any]]:
    """Returns for every rule its figures less those of its system's first rule, seed by seed."""
    found, first_of = [], {}
    for row in rows:
        first = first_of.setdefault(row["system"], row)
        if row is first:
            continue
        own = {"system": row["system"], "rule": row["rule"], "less": first["rule"]}
        for name in figures:
            pairs = [
                (one[name], other[name])
                for one, other in zip(row["seeds"], first["seeds"], strict=True)
            ]
            differences = [None if None in pair else pair[0] - pair[1] for pair in pairs]
            mean, error = mean_and_error(differences)
            own[name] = {"mean": mean, "standard_error": error, "pairs": len(pairs)}
        found.append(own)
    return found


def _epochs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each epoch of each trial."""
    return [
        {"system": row["system"], "rule": row["rule"], "seed": trial["seed"], **epoch}
        for row in rows
        for trial in row["seeds"]
        for epoch in trial["epochs"]
    ]
