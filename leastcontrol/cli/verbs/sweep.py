"""`leastcontrol sweep`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import tyro

from ...runs.config import RunConfig
from ...runs.interruption import interruptible
from ...runs.measures import Measure, measure_of
from ...runs.options import ConfigError
from ...runs.sweep_config import read_sweep
from .._console import complain, program, say
from .._display import Table, Work
from ._verb import AbstractPlainVerb, check_installed

if TYPE_CHECKING:
    from ...training import EpochMetrics


@dataclasses.dataclass(frozen=True)
class Sweep(AbstractPlainVerb):
    """Search for the options with which a training does best on its validation split."""

    verb: ClassVar[str] = "sweep"

    config: tyro.conf.Positional[Path]
    """TOML file with tables [train], of fixed options, and [search], of lists and ranges."""
    out: Path | None = None
    """Folder of the sweep, required: a new one, or that of this sweep, to go on with it or to work
    on it with other processes at the same time."""
    trials: int = 20
    """Number of trials to be finished, by all workers together."""
    store: str | None = None
    """URL of the database that the workers share; a SQLite file in the folder by default. Its
    password is neither kept nor shown."""

    def check(self) -> None:
        """Checks the file, and the options."""
        read_sweep(self.config)
        if self.out is None:
            raise ConfigError("sweep writes a folder: name one with --out DIR.")
        if self.trials < 1:
            raise ConfigError(
                f"--trials is {self.trials}, but it must be at least 1: write --trials 20."
            )
        check_installed("sweep", "sweep", "optuna", "sqlalchemy")

    def run(self, command: str) -> int:
        """Runs trials and prints the best."""
        import optuna

        from ...runs.sweep import sweep

        assert self.out is not None
        # What it would say of a trial is said below, in this library's words.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searched = read_sweep(self.config)
        measure = measure_of(RunConfig.of(**searched.train))
        waiting = interruptible("the same command")
        with Work(self.trials, "trials") as work, waiting as saved:

            def report(trial: int, seed: int, metrics: "EpochMetrics") -> None:
                value = measure.shown(getattr(metrics.validation, measure.name))
                work.at(
                    f"trial {trial}, seed {seed}, epoch {metrics.epoch}: validation {value}",
                    trial,
                    short=f"trial {trial}: {value}",
                )
                saved(f"epoch {metrics.epoch} of trial {trial}, seed {seed}")

            result = sweep(
                searched,
                self.out,
                trials=self.trials,
                store=self.store,
                command=command,
                report=report,
                done=lambda row: work.tell(_trial_line(row, measure)),
            )
        return _print_sweep(result, self.out, measure)


def _trial_line(row: dict[str, Any], measure: Measure) -> str:
    options = "  ".join(f"{name} = {_shown(value)}" for name, value in row["options"].items())
    if row["complete"]:
        figure = f"validation {measure.shown(row[f'validation_{measure.name}'])}"
    else:
        reason = row["error"] or "others were better there"
        figure = f"stopped after {row['epochs']} epochs: {reason}"
    return f"trial {row['number']:>3}  {options}  {figure}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print_sweep(result: dict[str, Any], out: Path, measure: Measure) -> int:
    if result["best"] is None:
        complain("No trial was completed, so there is no best one.")
        return 1
    complete = [row for row in result["trials"] if row["complete"]]
    name = f"validation_{measure.name}"
    complete.sort(key=lambda row: row[name], reverse=measure.rising)
    heading = f"validation {measure.title}"
    table = Table("trial", "options", heading, title=f"{len(complete)} completed")
    for row in complete[:5]:
        options = "\n".join(f"{each} = {_shown(value)}" for each, value in row["options"].items())
        table.add_row(str(row["number"]), options, measure.shown(row[name]))
    table.show()
    say(f"Train with the best by: {program()} train --config {out / 'best.toml'} --out DIR")
    return 0
