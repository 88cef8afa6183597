"""From a configuration of meta-training to a run folder."""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import data, training
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..rules import (
    MAML,
    T1T2,
    AbstractMetaRule,
    ContrastiveMeta,
    DirectControl,
    EulerControl,
    FirstOrderMAML,
    GradientDescent,
    ImplicitMAML,
    MetaLeastControl,
    OptimalControl,
    Relaxation,
    Reptile,
)
from ..systems import ConvolutionalLearner, DenseLearner, FastWeights
from .meta_config import WITHOUT_PULL, MetaConfig

Report = Callable[[training.MetaMetrics], None]
Parts = tuple[data.AbstractTasks, data.AbstractTasks, data.AbstractTasks]


def mean_loss(loss: AbstractLoss) -> Callable[[Any, data.TaskSet], Float[Array, ""]]:
    """Returns `(model, set) ↦` the mean of a loss over a set of samples."""

    def of_set(model: Any, samples: data.TaskSet) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(loss)(model(samples.inputs), samples.targets))

    return of_set


def build_tasks(config: MetaConfig) -> Parts:
    """Returns the tasks for meta-training, validation and test."""
    shots, queries = config.counts()
    if config.tasks == "sinusoid":
        tasks = data.SinusoidTasks(shots, queries)
        return tasks, tasks, tasks
    if config.tasks == "glyphs":
        characters = data.read_glyphs()
    else:
        characters = data.OMNIGLOT.read(config.data_dir)
    first, second, third = (
        data.ImageTasks(jnp.asarray(part.images), config.ways, shots, queries)
        for part in characters.split(config.split_seed)
    )
    return first, second, third


def build_system(config: MetaConfig, tasks: data.AbstractTasks) -> FastWeights:
    """Returns a configuration's slow weights as they are before training."""
    # A stream of its own, apart from that of the tasks with the same seed.
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    loss: AbstractLoss
    if isinstance(tasks, data.ImageTasks):
        height, width = tasks.images.shape[2:]
        model = ConvolutionalLearner(
            (height, width),
            config.ways,
            channels=config.channels,
            modules=config.modules,
            key=key,
        )
        loss = CrossEntropy()
    else:
        model = DenseLearner(1, config.hidden, 1, key=key)
        loss = SquaredError()
    pull = config.pull
    if config.pull_learning == "per-weight":
        weights = eqx.filter(model, eqx.is_inexact_array)
        pull = jax.tree.map(lambda leaf: jnp.full_like(leaf, config.pull), weights)
    of_set = mean_loss(loss)
    return FastWeights(model, of_set, of_set, pull, learn_pull=config.pull_learning != "none")


def build_rule(config: MetaConfig) -> AbstractMetaRule:
    """Returns a configuration's rule."""
    # The papers' of their images; the losses of sinusoids are steeper.
    defaults = (5, 0.01) if config.rule in WITHOUT_PULL else (100, 0.03)
    if config.tasks == "sinusoid":
        defaults = (defaults[0], 0.01)
    steps = defaults[0] if config.inner_steps is None else config.inner_steps
    size = defaults[1] if config.step_size is None else config.step_size
    if config.rule in WITHOUT_PULL:
        rules = {"maml": MAML, "first-order-maml": FirstOrderMAML, "reptile": Reptile}
        return rules[config.rule](GradientDescent(steps, size))
    adaptation = Relaxation(steps, size)
    if config.rule == "least-control":
        controls = {
            "euler": lambda: EulerControl(steps=steps, step_size=size),
            "direct": DirectControl,
            "optimal": OptimalControl,
        }
        control = controls[config.control]()
        return MetaLeastControl(config.alpha, control=control, adaptation=adaptation)
    if config.rule == "t1-t2":
        return T1T2(adaptation)
    if config.rule == "implicit-maml":
        return ImplicitMAML(adaptation, products=config.products)
    return ContrastiveMeta(adaptation, strength=config.strength, steps=steps, step_size=size)


def run_meta(
    config: MetaConfig, out: Path, *, command: str | None = None, report: Report | None = None
) -> dict[str, Any]:
    """Meta-trains into a new run folder and returns its summary.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError` or
    `training.MetaTrainingError`.
    """
    config.check()
    parts = build_tasks(config)
    system = build_system(config, parts[0])
    rule = build_rule(config)
    folder = training.RunFolder.create(out)
    training.write_json(
        out / "config.json",
        {
            "verb": "meta",
            **config.as_json(),
            "command": command,
            "versions": {name: version(name) for name in ("leastcontrol", "jax", "equinox")},
            "machine": platform.machine(),
            "device": jax.devices()[0].device_kind,
        },
    )

    def done(metrics: training.MetaMetrics) -> None:
        folder.append_metrics(dataclasses.asdict(metrics))
        if report is not None:
            report(metrics)

    began = time.perf_counter()
    trained = training.meta_train(
        system,
        rule,
        parts[0],
        parts[1],
        training.MetaTrainingConfig(
            steps=config.steps(),
            task_batch=config.task_batch,
            learning_rate=config.learning_rate,
            report_every=max(1, config.steps() // config.reports),
            validation_tasks=config.validation_tasks,
        ),
        seed=config.seed,
        report=done,
    )
    seconds = time.perf_counter() - began
    folder.save_weights("last", trained.system)
    # Tasks of their own, the same for every rule and seed.
    test = training.meta_evaluate(
        trained.system, rule.adaptation, parts[2], config.evaluation_tasks, key=jax.random.key(0)
    )
    metrics = trained.metrics
    summary = {
        "test": dataclasses.asdict(test),
        "validation": dataclasses.asdict(metrics[-1].validation),
        "total_tasks": config.steps() * config.task_batch,
        "converged_fraction": statistics.fmean(own.converged_fraction for own in metrics),
        "residual_median": metrics[-1].residual_median,
        "not_finite_fraction": statistics.fmean(own.not_finite_fraction for own in metrics),
        "step_ms_median": statistics.median(own.step_ms for own in metrics),
        "step_bytes": trained.step_bytes,
        "seconds": seconds,
        "config": config.as_json(),
    }
    training.write_json(out / "summary.json", summary)
    return summary
