"""From a configuration of meta-training to a run folder."""

import dataclasses
import functools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import data, training
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..meta import (
    MAML,
    T1T2,
    AbstractAdaptation,
    AbstractMetaRule,
    ContrastiveMeta,
    DescentControl,
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
from .running import claim, commit, deviation, mean, read_json, run_identity, seed_folders, versions

Report = Callable[[int, training.MetaMetrics], None]
Parts = tuple[data.AbstractTasks, data.AbstractTasks, data.AbstractTasks]


def mean_loss(loss: AbstractLoss) -> Callable[[Any, data.TaskSet], Float[Array, ""]]:
    """Returns `(model, set) ↦` the mean of a loss over a set of samples."""

    def of_set(model: Any, samples: data.TaskSet) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(loss)(model(samples.inputs), samples.targets))

    return of_set


# Made once, so that what is compiled for one system serves for the next.
_SQUARED_ERROR = mean_loss(SquaredError())
_CROSS_ENTROPY = mean_loss(CrossEntropy())


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
        for part in characters.shrunk(config.image_size).split(config.split_seed)
    )
    return first, second, third


def build_system(config: MetaConfig, tasks: data.AbstractTasks, seed: int) -> FastWeights:
    """Returns a configuration's slow weights as they are before training."""
    # A stream of its own, apart from that of the tasks with the same seed.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    if isinstance(tasks, data.ImageTasks):
        height, width = tasks.images.shape[2:]
        model = ConvolutionalLearner(
            (height, width),
            config.ways,
            channels=config.channels,
            modules=config.modules,
            key=key,
        )
        loss = _CROSS_ENTROPY
    else:
        model = DenseLearner(1, config.hidden, 1, key=key)
        loss = _SQUARED_ERROR
    pull = config.pull
    if config.pull_learning == "per-weight":
        weights = eqx.filter(model, eqx.is_inexact_array)
        pull = jax.tree.map(lambda leaf: jnp.full_like(leaf, config.pull), weights)
    return FastWeights(model, loss, loss, pull, learn_pull=config.pull_learning != "none")


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
        return rules[config.rule](GradientDescent(steps, size, config.momentum))
    adaptation = Relaxation(steps, size, config.momentum)
    if config.rule == "least-control":
        controls = {
            "euler": lambda: EulerControl(steps=steps, step_size=size),
            "descent": lambda: DescentControl(
                steps=steps, step_size=size, momentum=config.momentum
            ),
            "direct": DirectControl,
            "optimal": OptimalControl,
        }
        control = controls[config.control]()
        return MetaLeastControl(config.alpha, control=control, adaptation=adaptation)
    if config.rule == "t1-t2":
        return T1T2(adaptation)
    if config.rule == "implicit-maml":
        return ImplicitMAML(adaptation, products=config.products)
    return ContrastiveMeta(
        adaptation,
        strength=config.strength,
        steps=steps,
        step_size=size,
        momentum=config.momentum,
    )


def evaluation_adaptation(config: MetaConfig, rule: AbstractMetaRule) -> AbstractAdaptation:
    """Returns how validation and test tasks are learned: as by the rule, in steps of their own."""
    given = {"steps": config.evaluation_steps, "step_size": config.evaluation_step_size}
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
) -> dict[str, Any]:
    """Meta-trains what a configuration describes and returns the summary that it wrote.

    Folders, seeds and `resume` are those of `running.run`; `report` is called when a stretch is
    saved, and may raise to stop the run there.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError` or
    `training.MetaTrainingError`.
    """
    config.check()
    seeds = config.all_seeds()
    parts = build_tasks(config)
    origin = {"command": command, "commit": commit(), "versions": versions()}
    with training.RunFolder.held(out, resume=resume) as folder:
        claim(config, folder)
        each = functools.partial(
            _run_seed, parts=parts, origin=origin, keep_last=keep_last, report=report
        )
        if len(seeds) == 1:
            return each(config, seeds[0], folder=folder)
        summaries = []
        for seed in seeds:
            own = training.RunFolder.reopen(out / f"seed-{seed}")
            single = dataclasses.replace(config, seed=seed, seeds=())
            claim(single, own)
            summaries.append(each(single, seed, folder=own))
        summary = {**_summary_of(summaries, config), **origin}
        folder.write_record("summary.json", summary)
        return summary


def _run_seed(
    config: MetaConfig,
    seed: int,
    *,
    parts: Parts,
    folder: training.RunFolder,
    origin: dict[str, Any],
    keep_last: int,
    report: Report | None,
) -> dict[str, Any]:
    if (folder.path / "summary.json").is_file():
        return read_json(folder.path / "summary.json")
    system, rule = build_system(config, parts[0], seed), build_rule(config)
    adaptation = evaluation_adaptation(config, rule)
    loop = training.MetaTrainingConfig(
        steps=config.steps(),
        task_batch=config.task_batch,
        learning_rate=config.learning_rate,
        report_every=max(1, config.steps() // config.reports),
        validation_tasks=config.validation_tasks,
    )
    identity = run_identity(config)
    checkpoints = training.Checkpoints(folder, identity, keep_last)
    fresh = training.meta_untrained(system, loop)
    start, seconds = checkpoints.restore(fresh) or (fresh, 0.0)
    began = time.perf_counter() - seconds

    def after_stretch(metrics: training.MetaMetrics, trained: training.MetaTrained) -> None:
        # The state first: all that follows is made again from it if the process ends here.
        checkpoints.save(trained, time.perf_counter() - began)
        folder.append_metrics(dataclasses.asdict(metrics))
        folder.save_weights("last", trained.system, identity)
        if report is not None:
            report(seed, metrics)

    # Of a run whose states are gone nothing may be left of their stretches.
    folder.write_metrics([dataclasses.asdict(own) for own in start.metrics])
    if start.metrics:
        folder.save_weights("last", start.system, identity)
    try:
        trained = training.meta_train(
            system,
            rule,
            parts[0],
            parts[1],
            loop,
            seed=seed,
            adaptation=adaptation,
            start=start,
            report=after_stretch,
        )
    except training.MetaTrainingError as error:
        # In the first stretch nothing has been saved yet.
        folder.save_weights("last", error.trained.system, identity)
        raise
    metrics = trained.metrics
    summary = {
        "test": dataclasses.asdict(_tested(config, trained.system, adaptation, parts[2])),
        "validation": dataclasses.asdict(metrics[-1].validation),
        "total_tasks": config.steps() * config.task_batch,
        "converged_fraction": mean(own.converged_fraction for own in metrics),
        "residual_median": metrics[-1].residual_median,
        "leak_residual_median": metrics[-1].leak_residual_median,
        "not_finite_fraction": mean(own.not_finite_fraction for own in metrics),
        "step_ms_median": statistics.median(own.step_ms for own in metrics),
        "step_bytes": metrics[-1].step_bytes,
        "seconds": time.perf_counter() - began,
        "seed": seed,
        "config": config.as_json(),
        "machine": platform.machine(),
        "device": jax.devices()[0].device_kind,
        **origin,
    }
    folder.write_record("summary.json", summary)
    return summary


def _tested(
    config: MetaConfig,
    system: FastWeights,
    adaptation: AbstractAdaptation,
    tasks: data.AbstractTasks,
) -> training.MetaEvaluation:
    # Tasks of their own, the same for every rule and seed.
    key = jax.random.key(0)
    return training.meta_evaluate(system, adaptation, tasks, config.evaluation_tasks, key=key)


# Of the summaries of several seeds: the mean over them, and the deviation between them.
_FIGURES = (
    "converged_fraction",
    "residual_median",
    "leak_residual_median",
    "not_finite_fraction",
    "step_ms_median",
)


def _summary_of(summaries: list[dict[str, Any]], config: MetaConfig) -> dict[str, Any]:
    """Returns the mean of several seeds' figures in a summary's own form, and their spread."""
    figures = {}
    for part in ("test", "validation"):
        for name in ("loss", "accuracy"):
            if summaries[0][part][name] is not None:
                figures[f"{part}_{name}"] = [own[part][name] for own in summaries]
    means = {name: mean(values) for name, values in figures.items()}
    return {
        **means,
        **{name: mean(own[name] for own in summaries) for name in _FIGURES},
        "test_tasks": summaries[0]["test"]["tasks"],
        "total_tasks": summaries[0]["total_tasks"],
        "step_bytes": max(own["step_bytes"] for own in summaries),
        "seconds": mean(own["seconds"] for own in summaries),
        "seed": list(config.seeds),
        "mean": means,
        "std": {name: deviation(values) for name, values in figures.items()},
        "per_seed": [
            {name: own[name] for name in ("seed", "test", "validation")} for own in summaries
        ],
        "config": config.as_json(),
    }


def evaluate_meta(folder: Path, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Returns the figures of a finished meta-training's last weights on its test tasks.

    A run of several seeds is evaluated seed by seed.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError` for a folder that is none,
    or is damaged.
    """
    path = folder / "config.json"
    config = MetaConfig.from_json(read_json(path), str(path))
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
        config.check()
    parts, rule = build_tasks(config), build_rule(config)
    adaptation = evaluation_adaptation(config, rule)
    rows = []
    for seed, own in seed_folders(config, folder).items():
        like = build_system(config, parts[0], seed)
        single = dataclasses.replace(config, seed=seed, seeds=())
        system = training.RunFolder(own).load_weights("last", like, run_identity(single))
        test = _tested(config, system, adaptation, parts[2])
        rows.append({"seed": seed, "test": dataclasses.asdict(test)})
    return {"folder": str(folder), "tasks": config.tasks, "seeds": rows}
