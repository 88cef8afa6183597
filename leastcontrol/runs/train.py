"""What a training does with each of its seeds."""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
from jax.sharding import Mesh

from .. import training
from ..monitor.diagnosis import diagnosis
from ..monitor.stability import WATCHED, stability_watch
from ..rules import batch_axis
from .config import RunConfig
from .measures import summary_measures
from .options import ConfigError
from .runner import AbstractJob, Recorder, Report, SeedRun, Summary, run
from .samples import first_samples, load_splits
from .spread import mean, number
from .trained import build_system, measure_test, sum_of_confusions

# From a seed's folder and its configuration.
Track = Callable[[Path, RunConfig], training.Tracker]

SOLVE_FIGURES = ("converged_fraction", "residual_max", "steps_mean", "steps_max")


def run_training(
    config: RunConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    keep_last: int = 2,
    mesh: Mesh | None = None,
    track: Track | None = None,
    report: Report | None = None,
) -> Summary:
    """Trains what a configuration describes, by `runner.run`, and returns the summary.

    **Arguments:**

    * `mesh`: the devices that batches, and the weights too, are divided among, as for
      `training.train`. Where they belong to several processes, each calls this with the same
      configuration.
    * `track`: called once for each seed with its folder and its configuration; what it returns is
      given the figures of the epochs that are trained from then on.
    * `report`: called with the seed and the `EpochMetrics` of an epoch that is saved; it may raise
      to stop the run there.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError`, `training.TrainingError`;
    `training.ProcessError` where another process stopped.
    """
    job = TrainingJob(config, mesh, track)
    return run(job, out, command=command, resume=resume, keep_last=keep_last, report=report)


class TrainingJob(AbstractJob[RunConfig]):
    """Training with each seed."""

    verb: ClassVar[str] = "train"

    def __init__(self, config: RunConfig, mesh: Mesh | None = None, track: Track | None = None):
        """Checks and loads what is needed.

        **Raises:** `ConfigError` or `data.DataError` for what cannot be trained.
        """
        config.check()
        self.config, self._mesh, self._track = config, mesh, track
        try:
            self.rule = config.build_rule()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.splits = training.by_all(lambda: load_splits(config))
        self.devices = 1 if mesh is None else mesh.size
        self.copies = 1 if mesh is None else mesh.shape[batch_axis(mesh)]
        self._check_batch_size()
        try:
            # Only to see whether the system can be built for these samples.
            eqx.filter_eval_shape(build_system, config, self.splits, config.all_seeds()[0])
        except ValueError as error:
            raise ConfigError(
                f"--system {config.system.word} cannot be built for {config.data.word}: {error}"
            ) from error

    def _check_batch_size(self) -> None:
        optimiser, samples = self.config.optimiser, len(self.splits.train)
        if optimiser.batch_size > samples:
            raise ConfigError(
                f"--batch-size is {optimiser.batch_size}, but {self.config.data.word} has "
                f"{samples} training samples: write --batch-size {min(64, samples)}."
            )
        parts = self.copies * optimiser.accumulation_steps
        if optimiser.batch_size % parts:
            raise ConfigError(
                f"--batch-size is {optimiser.batch_size}, but {self.copies} copies of the weights "
                f"take equal shares of it in {optimiser.accumulation_steps} equal parts: write a "
                f"multiple of {parts}, such as --batch-size "
                f"{parts * max(1, optimiser.batch_size // parts)}."
            )

    def conditions(self) -> Summary:
        """Returns the number of devices, of those that hold one copy, and of processes."""
        return {
            "devices": self.devices,
            "devices_per_copy": self.devices // self.copies,
            "processes": jax.process_count(),
        }

    def run_seed(self, run: SeedRun[RunConfig]) -> Summary:
        """Trains with one seed, from the last state if there is one."""
        config, splits = run.config, self.splits
        loop = config.build_training()
        fresh = training.untrained(
            training.drawn(lambda: build_system(config, splits, run.seed), self._mesh),
            self.rule,
            splits.train,
            loop,
            seed=run.seed,
            mesh=self._mesh,
        )
        tracker = None

        def noted(metrics: training.EpochMetrics) -> None:
            if tracker is not None:
                tracker.log(metrics.epoch, training.figures_of(metrics))

        recorder = Recorder(
            run,
            fresh,
            lambda trained: (trained.system, trained.feedback),
            is_best=_is_best,
            noted=noted,
        )
        if self._track is not None and training.is_first():
            tracker = self._track(run.folder.path, config)
        diagnose = None
        if config.run.diagnose:
            batch = first_samples(splits, config.run.diagnose)
            diagnose = diagnosis(self.rule, batch, run.seed, fresh.feedback)
        try:
            with recorder.keeping(training.TrainingError):
                trained = training.train(
                    fresh.system,
                    self.rule,
                    splits.train,
                    splits.validation,
                    loop,
                    seed=run.seed,
                    start=recorder.start,
                    watch=stability_watch(self.rule, first_samples(splits, WATCHED)),
                    diagnose=diagnose,
                    mesh=self._mesh,
                    report=recorder.save,
                )
        finally:
            if tracker is not None:
                tracker.close()
        return {**self._measured(run, trained), "seconds": recorder.seconds()}

    def _measured(self, run: SeedRun[RunConfig], trained: training.Trained) -> Summary:
        tested, confusion = measure_test(trained.system, self.splits.test)
        measured = {
            "test": tested,
            "train": training.evaluate(trained.system, self.splits.train),
            "validation": trained.metrics[-1].validation,
        }
        epochs = trained.metrics
        last = epochs[-1].diagnostics
        return {
            **{
                name: getattr(measured[part], measure.name)
                for name, (part, measure) in summary_measures(run.config).items()
            },
            "test_converged_fraction": measured["test"].converged_fraction,
            "step_ms_median": statistics.median(epoch.step_ms for epoch in epochs),
            "epochs": run.config.optimiser.epochs,
            "seed": run.seed,
            "solve": {
                "converged_fraction": mean(epoch.converged_fraction for epoch in epochs),
                "residual_max": max(_largest_residual(run.config, epoch) for epoch in epochs),
                "steps_mean": mean(epoch.steps_mean for epoch in epochs),
                "steps_max": max(epoch.steps_max for epoch in epochs),
            },
            **_strength(run.config, [epoch.removed for epoch in epochs]),
            **_tolerance(trained),
            **confusion,
            **({} if last is None else {"diagnostics": last}),
        }

    def figures(self, summary: Summary) -> dict[str, float]:
        """Returns what the data are judged by, and times."""
        names = (*summary_measures(self.config), "step_ms_median", "seconds")
        return {name: number(summary[name]) for name in names}

    def row(self, summary: Summary) -> Summary:
        """Returns the seed with its figures."""
        for name in SOLVE_FIGURES:
            number(summary["solve"][name])
        return {"seed": summary["seed"], **self.figures(summary)}

    def place(self, figures: training.EpochMetrics) -> str:
        """Returns the epoch."""
        return f"epoch {figures.epoch}"

    def share(self, figures: training.EpochMetrics) -> float:
        """Returns the share of the epochs."""
        return figures.epoch / self.config.optimiser.epochs

    def combined(self, summaries: Sequence[Summary]) -> Summary:
        """Returns the means of what one seed's summary has."""
        figures = [self.figures(summary) for summary in summaries]
        solves = [
            {name: number(summary["solve"][name]) for name in SOLVE_FIGURES}
            for summary in summaries
        ]
        return {
            **{name: mean(each[name] for each in figures) for name in figures[0]},
            "epochs": self.config.optimiser.epochs,
            "solve": {
                "converged_fraction": mean(each["converged_fraction"] for each in solves),
                "residual_max": max(each["residual_max"] for each in solves),
                "steps_mean": mean(each["steps_mean"] for each in solves),
                "steps_max": max(each["steps_max"] for each in solves),
            },
            **_mean_strength(summaries),
            **_tolerance_of_all(summaries),
            **sum_of_confusions(summaries),
            **_mean_diagnostics(summaries),
        }


def _is_best(trained: training.Trained) -> bool:
    *before, last = (epoch.validation.score for epoch in trained.metrics)
    return last > max(before, default=-math.inf)


def _strength(config: RunConfig, removed: Sequence[float | None]) -> Summary:
    """Sums up the share of the free loss that control removed in each epoch, if it was measured.

    Beside it stands what set the strength: α, or the share that was asked for.
    """
    measured = [share for share in removed if share is not None]
    if not measured:
        return {}
    end = math.nan if removed[-1] is None else removed[-1]
    asked, alpha = config.value("strength"), config.value("alpha")
    set_by = {"alpha": alpha} if asked is None else {"asked": asked}
    return {"strength": {**set_by, "removed_mean": mean(measured), "removed_end": end}}


def _mean_strength(summaries: Sequence[Summary]) -> Summary:
    if any("strength" not in summary for summary in summaries):
        return {}
    each = [summary["strength"] for summary in summaries]
    shares = {
        name: mean(number(one[name]) for one in each) for name in ("removed_mean", "removed_end")
    }
    return {"strength": {**each[0], **shares}}


def _largest_residual(config: RunConfig, epoch: training.EpochMetrics) -> float:
    """Bounds the relative residuals of an epoch's solved samples."""
    chosen = epoch.tolerance
    return epoch.residual_max * (config.value("tolerance", 1e-5) if chosen is None else chosen)


def _tolerance(trained: training.Trained) -> Summary:
    """Says which relative residuals were allowed, if they were chosen by the gradient's noise."""
    if trained.tolerance is None:
        return {}
    each = [epoch.tolerance for epoch in trained.metrics if epoch.tolerance is not None]
    return {"tolerance": {"largest": max(each), "end": float(trained.tolerance)}}


def _tolerance_of_all(summaries: Sequence[Summary]) -> Summary:
    if any("tolerance" not in summary for summary in summaries):
        return {}
    each = [summary["tolerance"] for summary in summaries]
    return {
        "tolerance": {
            "largest": max(number(one["largest"]) for one in each),
            "end": mean(number(one["end"]) for one in each),
        }
    }


def _mean_diagnostics(summaries: Sequence[Summary]) -> Summary:
    if any("diagnostics" not in summary for summary in summaries):
        return {}
    every = [summary["diagnostics"] for summary in summaries]

    def of(name: str, place: str) -> float | None:
        # What was not finite is null in the file of a seed that had been finished before.
        values = [diagnostics[name][place] for diagnostics in every]
        return None if None in values else mean(values)

    names = every[0].items()
    return {
        "diagnostics": {
            name: {place: of(name, place) for place in places} for name, places in names
        }
    }
