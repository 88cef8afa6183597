"""What a meta-training does with each of its seeds."""

import dataclasses
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import data, training
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..meta import AbstractAdaptation, AbstractMetaRule
from ..systems import FastWeights
from .folders import read_json, seed_folders
from .meta_config import MetaConfig
from .runner import AbstractJob, Recorder, Report, SeedRun, Summary, run
from .spread import mean, number


def mean_loss(loss: AbstractLoss) -> Callable[[Any, data.TaskSet], Float[Array, ""]]:
    """Returns `(model, set) ↦` the mean of a loss over a set of samples."""

    def of_set(model: Any, samples: data.TaskSet) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(loss)(model(samples.inputs), samples.targets))

    return of_set


# Made once, so that what is compiled for one system serves for the next.
_SQUARED_ERROR = mean_loss(SquaredError())
_CROSS_ENTROPY = mean_loss(CrossEntropy())


def build_system(config: MetaConfig, tasks: data.AbstractTasks, seed: int) -> FastWeights:
    """Makes the slow weights of a configuration as they are before training."""
    # A stream apart from that of the tasks with the same seed.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    model = config.tasks.model(tasks, key)
    loss = _SQUARED_ERROR if config.tasks.regression else _CROSS_ENTROPY
    strength, learning = config.rule.proximal_term()
    pull = strength
    if learning == "per-weight":
        weights = eqx.filter(model, eqx.is_inexact_array)
        pull = jax.tree.map(lambda leaf: jnp.full_like(leaf, strength), weights)
    return FastWeights(model, loss, loss, pull, learn_pull=learning != "none")


def evaluation_adaptation(config: MetaConfig, rule: AbstractMetaRule) -> AbstractAdaptation:
    """Returns the adaptation to validation and test tasks: that of the rule, but for its steps."""
    given = {"steps": config.run.evaluation_steps, "step_size": config.run.evaluation_step_size}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(rule.adaptation, **given)


def run_meta(
    config: MetaConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    keep_last: int = 2,
    report: Report | None = None,
) -> Summary:
    """Runs the meta-training of a configuration, by `runner.run`, and returns the summary.

    `report` is called with the seed and the `MetaMetrics` of a stretch that is saved; it may raise
    to stop the run there.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError` or
    `training.MetaTrainingError`.
    """
    job = MetaJob(config)
    return run(job, out, command=command, resume=resume, keep_last=keep_last, report=report)


class MetaJob(AbstractJob[MetaConfig]):
    """Meta-training with each seed."""

    verb: ClassVar[str] = "meta"

    def __init__(self, config: MetaConfig):
        """Checks and loads what is needed.

        **Raises:** `ConfigError` or `data.DataError` for what cannot be trained.
        """
        config.check()
        self.config = config
        self.parts = config.tasks.build()
        self.rule = config.rule.build(config)

    def run_seed(self, run: SeedRun[MetaConfig]) -> Summary:
        """Runs one seed, from the last state if there is one."""
        config, (learning, validation, test) = run.config, self.parts
        system = build_system(config, learning, run.seed)
        adaptation = evaluation_adaptation(config, self.rule)
        loop = training.MetaTrainingConfig(
            steps=config.steps(),
            task_batch=config.optimiser.task_batch,
            learning_rate=config.optimiser.learning_rate,
            report_every=max(1, config.steps() // config.run.reports),
            validation_tasks=config.run.validation_tasks,
        )
        fresh = training.meta_untrained(system, loop)
        recorder = Recorder(run, fresh, lambda trained: trained.system)
        with recorder.keeping(training.MetaTrainingError):
            trained = training.meta_train(
                system,
                self.rule,
                learning,
                validation,
                loop,
                seed=run.seed,
                adaptation=adaptation,
                start=recorder.start,
                report=recorder.save,
            )
        metrics = trained.metrics
        return {
            "test": dataclasses.asdict(_tested(config, trained.system, adaptation, test)),
            "validation": dataclasses.asdict(metrics[-1].validation),
            "total_tasks": config.steps() * config.optimiser.task_batch,
            "converged_fraction": mean(part.converged_fraction for part in metrics),
            "residual_median": metrics[-1].residual_median,
            "leak_residual_median": metrics[-1].leak_residual_median,
            "not_finite_fraction": mean(part.not_finite_fraction for part in metrics),
            "step_ms_median": statistics.median(part.step_ms for part in metrics),
            "step_bytes": metrics[-1].step_bytes,
            "seconds": recorder.seconds(),
            "seed": run.seed,
            "machine": platform.machine(),
            "device": jax.devices()[0].device_kind,
        }

    def figures(self, summary: Summary) -> dict[str, float]:
        """Returns the loss and, of classes, the accuracy on validation and test tasks."""
        return {
            f"{part}_{name}": number(summary[part][name])
            for part in ("test", "validation")
            for name in (("loss",) if self.config.tasks.regression else ("loss", "accuracy"))
        }

    def row(self, summary: Summary) -> Summary:
        """Returns the seed with what was measured on its tasks."""
        for name in _FIGURES:
            number(summary[name])
        return {name: summary[name] for name in ("seed", "test", "validation")}

    def place(self, figures: training.MetaMetrics) -> str:
        """Returns the step."""
        return f"step {figures.step}"

    def share(self, figures: training.MetaMetrics) -> float:
        """Returns the share of the steps."""
        return figures.step / self.config.steps()

    def combined(self, summaries: Sequence[Summary]) -> Summary:
        """Returns the means of what one seed's summary has."""
        figures = [self.figures(summary) for summary in summaries]
        return {
            **{name: mean(each[name] for each in figures) for name in figures[0]},
            **{name: mean(number(each[name]) for each in summaries) for name in _FIGURES},
            "test_tasks": summaries[0]["test"]["tasks"],
            "total_tasks": summaries[0]["total_tasks"],
            "step_bytes": max(each["step_bytes"] for each in summaries),
        }


# Of which the summary of several seeds has the mean alone.
_FIGURES = (
    "converged_fraction",
    "residual_median",
    "leak_residual_median",
    "not_finite_fraction",
    "step_ms_median",
    "seconds",
)


def _tested(
    config: MetaConfig,
    system: FastWeights,
    adaptation: AbstractAdaptation,
    tasks: data.AbstractTasks,
) -> training.MetaEvaluation:
    # The same tasks for every rule and seed.
    key = jax.random.key(0)
    return training.meta_evaluate(system, adaptation, tasks, config.run.evaluation_tasks, key=key)


def evaluate_meta(folder: Path, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Measures the last weights of a finished meta-training on its test tasks.

    A run of several seeds is evaluated seed by seed.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError` for a folder that is none,
    or is damaged.
    """
    path = folder / "config.json"
    config = MetaConfig.from_json(read_json(path), str(path))
    if data_dir is not None:
        config = config.with_options(data_dir=data_dir)
        config.check()
    parts, rule = config.tasks.build(), config.rule.build(config)
    adaptation = evaluation_adaptation(config, rule)
    rows = []
    for seed, place in seed_folders(config, folder).items():
        like = build_system(config, parts[0], seed)
        identity = config.single(seed).identity()
        system = training.RunFolder(place).load_weights("last", like, identity)
        test = _tested(config, system, adaptation, parts[2])
        rows.append({"seed": seed, "test": dataclasses.asdict(test)})
    return {"folder": str(folder), "tasks": config.tasks.word, "seeds": rows}
