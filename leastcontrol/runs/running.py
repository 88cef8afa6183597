"""From a configuration to a run folder, and from a run folder to figures."""

import contextlib
import dataclasses
import functools
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from .. import data, files, training
from ..controllers import (
    AbstractController,
    Automatic,
    ContinuousTime,
    DynamicInversion,
    Energy,
    Exact,
    KolenPollack,
    LeakyIntegral,
    LinearFeedback,
    Proportional,
    batch_mean_leak,
)
from ..equilibrium import FixedPoint, NoiseRun, Tolerance, TrustRegion
from ..monitor.diagnosis import diagnosis
from ..monitor.stability import WATCHED, stability_watch
from ..rules import (
    AbstractRule,
    Backpropagation,
    BackpropagationThroughTime,
    Batch,
    DirectFeedbackAlignment,
    Drop,
    EquilibriumPropagation,
    FeedbackAlignment,
    JacobianPenalty,
    Keep,
    LeastControl,
    PhantomGradient,
    RaiseError,
    RecurrentBackpropagation,
    WithBatchStatistics,
    jacobian_free_backpropagation,
    predictive_coding,
)
from ..systems import (
    PAPER_CONVOLUTIONS,
    SMALL_CONVOLUTIONS,
    STRIDED_CONVOLUTIONS,
    AbstractSystem,
    ConvolutionalFeedforward,
    EquilibriumRNN,
    FanInUniform,
    Feedforward,
    Orthogonal,
    Swapped,
    WithNodes,
    XavierNormal,
    XavierUniform,
    convolutional_deep_equilibrium,
    dense_residual_network,
    gelu,
    identity,
    relu,
    tanh,
)
from .config import AUTOENCODERS, IMAGE_SYSTEMS, ConfigError, RunConfig
from .feedback_control import build_feedback_control, build_loss
from .measures import summary_measures
from .meta_config import MetaConfig, is_meta
from .represent_config import RepresentConfig

ACTIVATIONS = {"tanh": tanh, "relu": relu, "gelu": gelu, "identity": identity}
INITIALISATIONS = {
    "fan-in-uniform": FanInUniform,
    "xavier-normal": XavierNormal,
    "xavier-uniform": XavierUniform,
    "orthogonal": Orthogonal,
}
CONVOLUTIONS = {
    "small": SMALL_CONVOLUTIONS,
    "strided": STRIDED_CONVOLUTIONS,
    "paper": PAPER_CONVOLUTIONS,
}
CELLS = {"residual": None, "swapped": Swapped, "nodes": WithNodes}
AUGMENTATIONS = {
    "none": (),
    "crop": (training.RandomCrop(),),
    "flip": (training.RandomFlip(),),
    "crop-and-flip": (training.RandomCrop(), training.RandomFlip()),
}
UNSOLVED = {"drop": Drop, "keep": Keep, "raise": RaiseError}

AnyConfig = RunConfig | MetaConfig | RepresentConfig
Report = Callable[[int, training.EpochMetrics], None]
# From a seed's folder and its configuration.
Track = Callable[[Path, RunConfig], training.Tracker]


def load_splits(config: RunConfig) -> data.SampleSplits:
    """Returns a configuration's data, a sample in the shape that its system takes."""
    if config.data == "student-teacher":
        return data.student_teacher(seed=config.split_seed)
    splits = data.load(
        AUTOENCODERS.get(config.data, config.data),
        data_dir=config.data_dir,
        validation_fraction=config.validation_fraction,
        split_seed=config.split_seed,
        preprocessing=preprocessing_of(config),
    )
    if config.regression:
        return data.autoencoding(splits)
    if config.system not in IMAGE_SYSTEMS:
        return splits
    return data.Splits(**{name: part.as_images() for name, part in splits.parts().items()})


def preprocessing_of(config: RunConfig) -> data.Standardise | None:
    """Returns what a configuration does to inputs that are scaled to [0, 1]."""
    if config.preprocessing == "none":
        return None
    if config.data == "cifar10":
        return data.CIFAR10_STANDARDISATION
    return data.MNIST_STANDARDISATION


def build_system(config: RunConfig, splits: data.SampleSplits, seed: int) -> AbstractSystem:
    """Returns a configuration's system as it is before training."""
    return build_network(config, splits.train.shape, outputs_of(splits), seed)


def outputs_of(splits: data.SampleSplits) -> int:
    """Returns how many numbers a system says of a sample."""
    if isinstance(splits, data.RegressionSplits):
        return splits.train.targets.shape[1]
    return splits.train.classes


def build_network(
    config: RunConfig, shape: tuple[int, ...], outputs: int, seed: int
) -> AbstractSystem:
    """Returns a configuration's system for samples of a shape, as it is before training."""
    activation = ACTIVATIONS[config.activation]
    initialisation = INITIALISATIONS[config.initialisation]()
    # A stream of its own, apart from that of the training with the same seed.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    inputs = math.prod(shape)
    if config.system == "convolutional":
        return ConvolutionalFeedforward(
            data.image_shape(shape),
            CONVOLUTIONS[config.convolutions],
            config.hidden,
            outputs,
            activation=activation,
            initialisation=initialisation,
            key=key,
        )
    if config.system == "deep-equilibrium":
        return convolutional_deep_equilibrium(
            data.image_shape(shape),
            outputs,
            channels=config.channels,
            inner=config.inner,
            groups=config.groups,
            pool=config.pool,
            stride=config.encoder_stride,
            make_cell=CELLS[config.cell],
            initialisation=initialisation,
            key=key,
        )
    if config.system == "residual":
        return dense_residual_network(
            inputs,
            config.hidden[0],
            config.depth,
            outputs,
            activation=activation,
            initialisation=initialisation,
            key=key,
        )
    if config.system == "rnn":
        return EquilibriumRNN(
            inputs,
            config.hidden[0],
            outputs,
            activation=activation,
            initialisation=initialisation,
            key=key,
        )
    return Feedforward(
        inputs,
        config.hidden,
        outputs,
        activation=activation,
        initialisation=initialisation,
        key=key,
    )


def build_rule(config: RunConfig) -> AbstractRule:
    """Returns a configuration's rule."""
    rule: AbstractRule = _build_rule(config)
    if config.jacobian_penalty is not None:
        leak = rule.output_control.leak if isinstance(rule, LeastControl) else 1.0
        # Least control's objective has the loss in it as L/α, and without leak none.
        rule = JacobianPenalty(rule, config.jacobian_penalty / (leak if leak > 0 else 1.0))
    return WithBatchStatistics(rule) if config.system == "deep-equilibrium" else rule


def _build_rule(config: RunConfig) -> AbstractRule:
    loss = build_loss(config)
    tolerance = Tolerance(relative=config.tolerance)
    unsolved = UNSOLVED[config.unsolved]()
    if config.rule == "backpropagation":
        return Backpropagation(loss=loss)
    if config.rule == "deep-feedback-control":
        return build_feedback_control(config)
    fixed_point = None if config.max_steps is None else FixedPoint(max_steps=config.max_steps)
    if config.rule == "recurrent-backpropagation":
        solver = FixedPoint() if fixed_point is None else fixed_point
        return RecurrentBackpropagation(
            loss=loss, tolerance=tolerance, solver=solver, unsolved=unsolved
        )
    if config.rule in ("phantom-gradient", "jacobian-free-backpropagation"):
        make = (
            PhantomGradient if config.rule == "phantom-gradient" else jacobian_free_backpropagation
        )
        solver = FixedPoint() if fixed_point is None else fixed_point
        return make(loss=loss, tolerance=tolerance, solver=solver, unsolved=unsolved)
    if config.rule == "backpropagation-through-time":
        steps = {} if config.max_steps is None else {"steps": config.max_steps}
        return BackpropagationThroughTime(loss, **steps, tolerance=tolerance, unsolved=unsolved)
    if config.rule == "feedback-alignment":
        solver = FixedPoint() if fixed_point is None else fixed_point
        return FeedbackAlignment(loss, tolerance, solver, unsolved)
    if config.rule == "direct-feedback-alignment":
        solver = FixedPoint() if fixed_point is None else fixed_point
        return DirectFeedbackAlignment(loss, tolerance, solver, unsolved)
    alpha = config.alpha
    if config.alpha_convention == "batch-mean":
        alpha = batch_mean_leak(alpha, config.batch_size)
    if config.output_control == "proportional":
        output_control = Proportional(1 / alpha)
    else:
        output_control = LeakyIntegral(alpha)
    controller = _build_controller(config, alpha, tolerance, fixed_point)
    if config.rule == "predictive-coding":
        return predictive_coding(
            output_control, controller=controller, loss=loss, unsolved=unsolved
        )
    if config.rule.endswith("equilibrium-propagation"):
        centred = config.rule.startswith("centred")
        return EquilibriumPropagation(
            controller, 1 / alpha, centred=centred, loss=loss, unsolved=unsolved
        )
    return LeastControl(controller, output_control, loss=loss, unsolved=unsolved)


def _build_controller(
    config: RunConfig, leak: float, tolerance: Tolerance, fixed_point: FixedPoint | None
) -> AbstractController:
    if config.controller == "energy" or config.rule == "predictive-coding":
        return Energy(tolerance, *([] if fixed_point is None else [fixed_point]))
    if config.controller == "exact":
        newton = TrustRegion() if config.max_steps is None else TrustRegion(config.max_steps)
        return Exact(tolerance, newton)
    if config.controller == "kolen-pollack":
        return KolenPollack(tolerance, fixed_point)
    if config.controller == "linear-feedback":
        # With a larger leak the output controller is as much slower as keeps τ_u/α, by which it
        # follows the noise, at what the paper's leak makes of it.
        noise = NoiseRun(
            steps=config.noise_steps,
            samples=config.noise_samples,
            output_time_constant=max(1.0, leak / RunConfig.alpha),
            decay=config.feedback_decay,
        )
        return LinearFeedback(tolerance, fixed_point, noise)
    if config.controller == "continuous-time":
        if config.max_steps is None:
            return ContinuousTime(tolerance)
        return ContinuousTime(tolerance, max_steps=config.max_steps)
    if config.controller == "dynamic-inversion":
        return DynamicInversion(tolerance, fixed_point)
    return Automatic(tolerance, fixed_point)


def build_training(config: RunConfig) -> training.TrainingConfig:
    """Returns a configuration's optimiser, schedule and batches."""
    return training.TrainingConfig(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        final_learning_rate=config.final_learning_rate,
        gradient_clip=config.gradient_clip,
        weight_decay=config.weight_decay,
        feedback_learning_rate=config.feedback_learning_rate,
        augmentations=AUGMENTATIONS[config.augment],
        warm_start=config.start == "warm",
        accumulation_steps=config.accumulate,
    )


def diagnosed_samples(config: RunConfig, splits: data.SampleSplits) -> Batch | None:
    """Returns the first validation samples, as many as a configuration diagnoses itself on."""
    if config.diagnose == 0:
        return None
    return first_samples(splits, config.diagnose)


def first_samples(splits: data.SampleSplits, count: int) -> Batch:
    """Returns the first validation samples."""
    own = splits.validation
    return Batch(jnp.asarray(own.inputs[:count]), jnp.asarray(own.targets[:count]))


def versions() -> dict[str, str]:
    """Returns the versions that a result may depend on."""
    packages = ("leastcontrol", "jax", "jaxlib", "equinox", "optimistix", "optax", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def commit() -> str | None:
    """Returns the commit of the checkout that the package is run from; `None` outside of one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def run(
    config: RunConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    keep_last: int = 2,
    mesh: Mesh | None = None,
    track: Track | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Trains what a configuration describes and returns the summary that it wrote.

    One seed is written into `out` itself, several into `out/seed-N`, with a summary of all in
    `out`. With `resume` a run that `out` holds already goes on from its last checkpoint, and ends
    as it would have without the interruption; one that is finished returns its summary. `report`
    is called when an epoch is saved, and may raise to stop the run there. `track` is called once
    for each seed with its folder and its configuration, and returns what is told the figures of the
    epochs that are trained from then on.

    Batches are split over the devices of `mesh`. Where these belong to several processes, each
    calls this with the same configuration, and only the first one reads and writes `out`, and
    reports.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError`, `training.TrainingError`;
    `training.ProcessError` where another process stopped.
    """
    config.check()
    seeds = config.all_seeds()
    try:
        rule = build_rule(config)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    splits = training.by_all(lambda: load_splits(config))
    devices = 1 if mesh is None else mesh.size
    _check_batch_size(config, len(splits.train), devices)
    try:
        # Only to see whether the system can be built for these samples.
        eqx.filter_eval_shape(build_system, config, splits, seeds[0])
    except ValueError as error:
        raise ConfigError(
            f"--system {config.system} cannot be built for {config.data}: {error}"
        ) from error
    origin = {
        "command": command,
        "commit": commit(),
        "versions": versions(),
        "devices": devices,
        "processes": jax.process_count(),
    }
    each = functools.partial(
        _run_seed,
        rule=rule,
        splits=splits,
        origin=origin,
        keep_last=keep_last,
        mesh=mesh,
        track=track,
        report=report,
    )
    with contextlib.ExitStack() as held:
        training.by_first(
            lambda: claim(config, held.enter_context(training.RunFolder.held(out, resume=resume)))
        )
        whole = training.RunFolder(out)
        if len(seeds) == 1:
            return each(config, seeds[0], folder=whole)
        summaries = []
        for seed in seeds:
            path = out / f"seed-{seed}"
            single = dataclasses.replace(config, seed=seed, seeds=())
            training.by_first(functools.partial(_claim_seed, single, path))
            summaries.append(each(single, seed, folder=training.RunFolder(path)))
        summary = {**_summary_of(summaries, config), **origin}
        training.by_first(lambda: whole.write_record("summary.json", summary))
        return summary


def _check_batch_size(config: RunConfig, samples: int, devices: int) -> None:
    if config.batch_size > samples:
        raise ConfigError(
            f"--batch-size is {config.batch_size}, but {config.data} has {samples} training "
            f"samples: write --batch-size {min(64, samples)}."
        )
    parts = devices * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"--batch-size is {config.batch_size}, but {devices} devices take equal shares of it "
            f"in {config.accumulate} equal parts: write a multiple of {parts}, such as "
            f"--batch-size {parts * max(1, config.batch_size // parts)}."
        )


def _claim_seed(config: RunConfig, path: Path) -> None:
    claim(config, training.RunFolder.reopen(path))


def claim(config: AnyConfig, folder: training.RunFolder) -> None:
    """Writes a configuration into a new folder, or checks it against the one that is there.

    **Raises:** `ConfigError` or `training.FolderError` if the folder holds anything else.
    """
    if folder.is_empty():
        folder.tidy()
        folder.write_record("config.json", config.as_json())
        return
    path = folder.path / "config.json"
    found = type(config).from_json(read_json(path), str(path))
    theirs, ours = run_identity(found), run_identity(config)
    for name, value in ours.items():
        if theirs[name] != value:
            raise ConfigError(
                f"{folder.path} holds a run with {name} = {_shown(theirs[name])}, and now it is "
                f"{_shown(value)}: repeat the options of that run, or name another folder with "
                "--out DIR."
            )
    folder.tidy()


def run_identity(config: AnyConfig) -> dict[str, Any]:
    """Returns what must agree where a run goes on; its data may lie elsewhere by then."""
    values = config.as_json()
    # Built-in pictures have no folder.
    values.pop("data_dir", None)
    del values["seed"]
    return {**values, "seeds": list(config.all_seeds())}


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _run_seed(
    config: RunConfig,
    seed: int,
    *,
    rule: AbstractRule,
    splits: data.SampleSplits,
    folder: training.RunFolder,
    origin: dict[str, Any],
    keep_last: int,
    mesh: Mesh | None,
    track: Track | None,
    report: Report | None,
) -> dict[str, Any]:
    summary = training.by_first(lambda: _finished(folder, config))
    if summary is not None:
        return summary
    system = build_system(config, splits, seed)
    loop = build_training(config)
    identity = run_identity(config)
    checkpoints = training.Checkpoints(folder, identity, keep_last)
    fresh = training.untrained(system, rule, splits.train, loop, seed=seed)
    batch = diagnosed_samples(config, splits)
    restored = training.restored_by_first(lambda: checkpoints.restore(fresh), fresh)
    start, seconds = restored or (fresh, 0.0)
    began = time.perf_counter() - seconds

    def is_best(trained: training.Trained) -> bool:
        *before, last = (own.validation.score for own in trained.metrics)
        return last > max(before, default=-math.inf)

    def save_weights(trained: training.Trained) -> None:
        weights = (trained.system, trained.feedback)
        folder.save_weights("last", weights, identity)
        if is_best(trained):
            folder.save_weights("best", weights, identity)

    def save(metrics: training.EpochMetrics, trained: training.Trained) -> None:
        # The state first: all that follows is made again from it if the process ends here.
        checkpoints.save(trained, time.perf_counter() - began)
        folder.append_metrics(dataclasses.asdict(metrics))
        save_weights(trained)
        if tracker is not None:
            tracker.log(metrics.epoch, training.figures_of(metrics))
        if report is not None:
            report(seed, metrics)

    def write_again() -> None:
        # Of a run whose states are gone nothing may be left of their epochs.
        folder.write_metrics([dataclasses.asdict(own) for own in start.metrics])
        if start.metrics:
            save_weights(start)

    training.by_first(write_again)
    tracker = None
    if track is not None and training.is_first():
        tracker = track(folder.path, config)
    try:
        trained = training.train(
            system,
            rule,
            splits.train,
            splits.validation,
            loop,
            seed=seed,
            start=start,
            watch=stability_watch(rule, first_samples(splits, WATCHED)),
            diagnose=None if batch is None else diagnosis(rule, batch, seed, fresh.feedback),
            mesh=mesh,
            report=lambda *own: training.by_first(lambda: save(*own)),
        )
    except training.TrainingError as error:
        # In the first epoch nothing has been saved yet.
        weights = (error.trained.system, error.trained.feedback)
        training.by_first(lambda: folder.save_weights("last", weights, identity))
        raise
    finally:
        if tracker is not None:
            tracker.close()
    measured = {
        "test": training.evaluate(trained.system, splits.test),
        "train": training.evaluate(trained.system, splits.train),
        "validation": trained.metrics[-1].validation,
    }
    summary = {
        **{
            name: getattr(measured[part], measure.name)
            for name, (part, measure) in summary_measures(config).items()
        },
        "test_converged_fraction": measured["test"].converged_fraction,
        "step_ms_median": statistics.median(own.step_ms for own in trained.metrics),
        "seconds": time.perf_counter() - began,
        "epochs": config.epochs,
        "seed": seed,
        "solve": {
            "converged_fraction": mean(own.converged_fraction for own in trained.metrics),
            "residual_max": config.tolerance * max(own.residual_max for own in trained.metrics),
            "steps_mean": mean(own.steps_mean for own in trained.metrics),
            "steps_max": max(own.steps_max for own in trained.metrics),
        },
        **_last_diagnostics(trained.metrics),
        "config": config.as_json(),
        **origin,
    }
    training.by_first(lambda: folder.write_record("summary.json", summary))
    return summary


def _last_diagnostics(metrics: Sequence[training.EpochMetrics]) -> dict[str, Any]:
    """Returns what was diagnosed after the last epoch, if anything was."""
    last = metrics[-1].diagnostics
    return {} if last is None else {"diagnostics": last}


def _finished(folder: training.RunFolder, config: RunConfig) -> dict[str, Any] | None:
    """Returns the summary of a run that is finished.

    **Raises:** `FolderError` where it lacks a figure.
    """
    path = folder.path / "summary.json"
    if not path.is_file():
        return None
    summary = read_json(path)
    try:
        figures = {name: _number(summary[name]) for name in _figures(config)}
        solve = {name: _number(summary["solve"][name]) for name in SOLVE_FIGURES}
    except (KeyError, TypeError) as error:
        raise training.FolderError(
            f"{path} is no summary of a finished run, or is damaged: remove it, and it is made "
            "again from the last checkpoint."
        ) from error
    return {**summary, **figures, "solve": solve}


def _number(value: Any) -> float:
    """Returns a number of JSON's, which has none that are not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(value)
    return math.nan if value is None else float(value)


SOLVE_FIGURES = ("converged_fraction", "residual_max", "steps_mean", "steps_max")


def _figures(config: RunConfig) -> tuple[str, ...]:
    """Returns the names of the figures of which several seeds' summary has the mean."""
    return (*summary_measures(config), "step_ms_median", "seconds")


def _summary_of(summaries: list[dict[str, Any]], config: RunConfig) -> dict[str, Any]:
    """Returns the mean of several seeds' figures in a summary's own form, and their spread."""
    names = _figures(config)
    means = {name: mean(own[name] for own in summaries) for name in names}
    std = {name: deviation([own[name] for own in summaries]) for name in names}
    solves = [own["solve"] for own in summaries]
    return {
        **means,
        "epochs": config.epochs,
        "seed": list(config.seeds),
        "solve": {
            "converged_fraction": mean(own["converged_fraction"] for own in solves),
            "residual_max": max(own["residual_max"] for own in solves),
            "steps_mean": mean(own["steps_mean"] for own in solves),
            "steps_max": max(own["steps_max"] for own in solves),
        },
        "mean": means,
        "std": std,
        "per_seed": [{name: own[name] for name in ("seed", *names)} for own in summaries],
        **_mean_diagnostics(summaries),
        "config": config.as_json(),
    }


def _mean_diagnostics(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    if any("diagnostics" not in own for own in summaries):
        return {}
    every = [own["diagnostics"] for own in summaries]

    def of(name: str, place: str) -> float | None:
        # What was not finite is null in the file of a seed that had been finished before.
        values = [own[name][place] for own in every]
        return None if None in values else mean(values)

    names = every[0].items()
    return {"diagnostics": {name: {own: of(name, own) for own in parts} for name, parts in names}}


def mean(values: Iterable[float]) -> float:
    """Returns the mean of at least one value, which may not be finite."""
    values = list(values)
    return sum(values) / len(values)


def deviation(values: list[float]) -> float:
    """Returns the standard deviation of at least two values, which may not be finite."""
    # `statistics` fails on values that are not finite.
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def evaluate_run(folder: Path, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Returns the figures of a finished run's last weights on its validation and test sets.

    A run of several seeds is evaluated seed by seed.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError` for a folder that is none,
    or is damaged.
    """
    config = read_config(folder)
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
        config.check()
    splits = load_splits(config)
    rows = []
    for seed, own in seed_folders(config, folder).items():
        system, _ = load_trained(config, splits, own, seed)
        figures = {"seed": seed}
        for name in ("validation", "test"):
            evaluation = training.evaluate(system, splits.parts()[name])
            for figure, value in dataclasses.asdict(evaluation).items():
                figures[f"{name}_{figure}"] = value
        rows.append(figures)
    return {"folder": str(folder), "data": config.data, "seeds": rows}


def seed_folders(config: AnyConfig, folder: Path) -> dict[int, Path]:
    """Returns where a run leaves each of its seeds: in its own folder where there is only one."""
    seeds = config.all_seeds()
    return {seed: folder / f"seed-{seed}" if len(seeds) > 1 else folder for seed in seeds}


def load_trained(
    config: RunConfig, splits: data.SampleSplits, folder: Path, seed: int, weights: str = "last"
) -> tuple[AbstractSystem, PyTree[Any]]:
    """Returns the system and the feedback weights that a seed's folder holds.

    **Raises:** `training.FolderError`.
    """
    system = build_system(config, splits, seed)
    feedback = build_rule(config).init(system, key=jax.random.key(seed))
    single = dataclasses.replace(config, seed=seed, seeds=())
    return training.RunFolder(folder).load_weights(
        weights, (system, feedback), run_identity(single)
    )


def read_config(folder: Path) -> RunConfig:
    """Returns the configuration of a run folder.

    **Raises:** `ConfigError` if there is none, or it cannot be run.
    """
    path = folder / "config.json"
    values = read_json(path)
    if is_meta(values):
        raise ConfigError(
            f"{folder} holds a meta-training, which has no classifier of samples: give the folder "
            "that `leastcontrol train --out DIR` wrote."
        )
    return RunConfig.from_json(values, str(path))


def read_metrics(folder: Path, *, whole: bool = False) -> list[Any]:
    """Returns the lines of a run folder's `metrics.jsonl`, none where there is no such file.

    A last line without its end is one that was still being written; with `whole`, or where the run
    is finished, it is damage.

    **Raises:** `files.FileError` where a line is damaged.
    """
    required = files.is_sealed_run(folder)
    lines = files.metrics_lines(folder, whole=whole)
    return [
        files.parse_metrics(folder, number, line, required=required)
        for number, line in enumerate(lines, 1)
    ]


def read_json(path: Path) -> Any:
    """Returns what a file of a run folder holds.

    **Raises:** `ConfigError` where it is missing or damaged.
    """
    try:
        return files.read_of_run(path.parent, path.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{path.parent} is not a run folder, for it has no {path.name}: give the folder that "
            "`leastcontrol train --out DIR` wrote."
        ) from error
    except files.FileError as error:
        raise ConfigError(str(error)) from error
