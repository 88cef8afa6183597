"""Epochs of a rule's steps, compiled as a whole.

A rule with a safeguard has two programs (`leastcontrol.rules.without_safeguard`). Every epoch
begins in the one without; the first batch of which a sample was not solved, and all that follow,
are the other's, which is compiled when it is first needed. What an epoch does depends on its start
alone and not on the epochs before it, so training goes on from a checkpoint with the same numbers.
"""

import contextlib
import dataclasses
import functools
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ..data import Samples
from ..equilibrium import Point, solved, tree_where
from ..rules import AbstractRule, Batch, InParts, without_safeguard
from ..systems import AbstractSystem
from ._augmentation import augmented
from ._calibration import calibrate
from ._config import TrainingConfig
from ._evaluation import AnyEvaluation, evaluate, evaluation_of

# What a step tells of itself.
FIGURES = 9

Diagnostics = dict[str, dict[str, float]]
"""Figures by name and, for each, numbers by the part of the system that they are of."""


class UnfitError(RuntimeError):
    """What was looked at before an epoch must not be trained; the message is a sentence."""


class TrainingError(RuntimeError):
    """Training cannot go on; `trained` holds the weights and figures from before that epoch."""

    def __init__(self, message: str, trained: "Trained"):
        super().__init__(message)
        self.trained = trained


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """The figures of one epoch.

    * `loss`, `objective`: means of `Credit.loss` and `Credit.objective` over the steps in which a
      sample counts.
    * `control_norm`, `control_energy`: means of ‖(ψ, u)‖ and of its square over the samples.
    * `converged_fraction`: share of solves, of one sample in one step, that were solved.
    * `residual_max`: the largest residual of a solved sample as a multiple of what is allowed.
    * `steps_mean`, `steps_max`: iterations of a sample's solve.
    * `step_ms`: wall time of a step, in milliseconds, the epoch's compilation not counted.
    * `seconds`: wall time of the epoch's steps.
    * `validation`: of the weights at the end of the epoch.
    * `updates`: steps of the optimiser so far.
    * `step_bytes`: the working memory that XLA has planned for a device's steps, weights and data
      not counted; 0 where it tells none.
    * `diagnostics`: what `diagnose` returned of them, if it was given.
    """

    epoch: int
    loss: float
    objective: float
    control_norm: float
    control_energy: float
    converged_fraction: float
    residual_max: float
    steps_mean: float
    steps_max: int
    step_ms: float
    seconds: float
    validation: AnyEvaluation
    updates: int = 0
    step_bytes: int = 0
    diagnostics: Diagnostics | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training leaves, and all that it needs to go on.

    * `system`, `feedback`: the system and the rule's feedback weights.
    * `metrics`: the figures of the epochs so far.
    * `optimiser_states`: of the system's optimiser and of the feedback's.
    * `points`: the last controlled rest point of every training sample, with `warm_start`.
    """

    system: AbstractSystem
    feedback: PyTree[Any]
    metrics: tuple[EpochMetrics, ...]
    optimiser_states: PyTree[Any]
    points: Point | None = None

    def kept(self) -> PyTree[Any]:
        """Returns the arrays that `Checkpoints` keeps."""
        return self.system, self.feedback, self.optimiser_states, self.points

    def restored(self, kept: PyTree[Any], rows: list[dict[str, Any]]) -> "Trained":
        """Returns the same with the arrays of `kept`, and figures that are given as JSON's."""
        metrics = tuple(
            EpochMetrics(**{**row, "validation": evaluation_of(row["validation"])}) for row in rows
        )
        system, feedback, optimiser_states, points = kept
        return Trained(system, feedback, metrics, optimiser_states, points)


class Begun(NamedTuple):
    """An epoch under way: the steps that were taken, what they left, and the figures of each."""

    steps: Int[Array, ""]
    carry: PyTree[Any]
    figures: Float[Array, "steps figures"]


def make_optimiser(config: TrainingConfig, total_steps: int) -> optax.GradientTransformation:
    """Returns Adam with the cosine schedule of a configuration, after clipping."""
    adam = _adam(config, config.learning_rate, total_steps)
    if config.gradient_clip is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)


def make_feedback_optimiser(
    config: TrainingConfig, total_steps: int
) -> optax.GradientTransformation:
    """Returns Adam with the schedule of the feedback weights, without clipping."""
    rate = config.feedback_learning_rate
    return _adam(config, config.learning_rate if rate is None else rate, total_steps)


def _adam(config: TrainingConfig, rate: float, total_steps: int) -> optax.GradientTransformation:
    last = config.final_learning_rate / config.learning_rate
    return optax.adam(optax.cosine_decay_schedule(rate, total_steps, alpha=last))


def untrained(
    system: AbstractSystem,
    rule: AbstractRule,
    training: Samples,
    config: TrainingConfig,
    *,
    seed: int,
) -> Trained:
    """Returns what training with the same arguments starts from.

    **Raises:** `ValueError` where a batch does not fit into the training set.
    """
    total = _steps(training, config) * config.epochs
    system = calibrate(system, training)
    feedback = rule.init(system, key=_keys(seed)[1])
    learned, weights = (eqx.filter(tree, eqx.is_inexact_array) for tree in (system, feedback))

    def first_states(learned: PyTree, weights: PyTree) -> tuple[optax.OptState, optax.OptState]:
        return (
            make_optimiser(config, total).init(learned),
            make_feedback_optimiser(config, total).init(weights),
        )

    # Compiled once, and not for the zeros of every shape.
    states = jax.jit(first_states)(learned, weights)
    return Trained(system, feedback, (), states, _first_points(system, training, config))


def _first_points(
    system: AbstractSystem, training: Samples, config: TrainingConfig
) -> Point | None:
    if not config.warm_start:
        return None
    inputs = jnp.asarray(training.inputs)
    return jax.jit(jax.vmap(lambda x: Point.uncontrolled(system, system.drive(x))))(inputs)


def _keys(seed: int) -> Array:
    """Returns the keys of the order of the samples, of the feedback weights and of the noise."""
    return jax.random.split(jax.random.key(seed), 3)


def _steps(training: Samples, config: TrainingConfig) -> int:
    steps = len(training) // config.batch_size
    if steps == 0:
        raise ValueError(
            f"`batch_size` is {config.batch_size}, but there are {len(training)} training samples: "
            f"write batch_size={len(training)} or less."
        )
    return steps


def train(
    system: AbstractSystem,
    rule: AbstractRule,
    training: Samples,
    validation: Samples,
    config: TrainingConfig,
    *,
    seed: int,
    start: Trained | None = None,
    mesh: Mesh | None = None,
    watch: Callable[[AbstractSystem, PyTree[Any]], None] | None = None,
    diagnose: Callable[[AbstractSystem, PyTree[Any]], Diagnostics] | None = None,
    report: Callable[[EpochMetrics, Trained], None] | None = None,
) -> Trained:
    """Trains a system by a rule.

    **Arguments:**

    * `system`, `rule`: what is trained, how. A system with batch norm is trained by a rule
      `WithBatchStatistics`; its statistics for evaluation are measured before the first epoch and
      after every one.
    * `training`, `validation`: data sets; the second is only looked at.
    * `config`: optimiser, schedule and batches.
    * `seed`: of the order of the samples, the rule's feedback weights and its noise. Two rules with
      the same seed see the same batches.
    * `start`: what an interrupted training with the same other arguments had left. Training goes
      on after its last epoch and ends with the same numbers as without the interruption: the keys
      of an epoch depend on the seed and on its number alone.
    * `mesh`: devices that take equal parts of every batch, along one axis, of this process and of
      others that train the same; the default one. The numbers are those of one device up to the
      order of sums, where a rule draws nothing at random (`InParts`).
    * `watch`: looks at the system and the feedback weights before every epoch, and may raise
      `UnfitError` to stop there.
    * `diagnose`: what else is measured of the system and the feedback weights after every epoch.
    * `report`: called after every epoch with its figures and what is trained as it is.

    **Raises:** `ValueError` where a batch does not fit into the training set, or the data do not
    fit the system; `TrainingError` where a loss or a weight is no longer finite, where the policy
    for unsolved samples is to raise, where no sample of an epoch counted, and where `watch` says
    so.
    """
    rule = _in_parts(rule, config, mesh)
    if start is None:
        start = untrained(system, rule, training, config, seed=seed)
    if len(start.metrics) >= config.epochs:
        return start

    def look(epoch: int, before: Trained) -> None:
        if watch is not None:
            with _rule_errors(epoch, before):
                watch(before.system, before.feedback)

    # Before the compilation, which takes longer.
    look(len(start.metrics) + 1, start)
    steps = _steps(training, config)
    order_key, _, noise_key = _keys(seed)
    optimiser = make_optimiser(config, steps * config.epochs)
    feedback_optimiser = make_feedback_optimiser(config, steps * config.epochs)
    learned, fixed = eqx.partition(start.system, eqx.is_inexact_array)
    weights, fixed_feedback = eqx.partition(start.feedback, eqx.is_inexact_array)
    # An argument of the compiled epoch and not a constant in it, which would be copied.
    place, local = _placement(mesh)
    everything = place(Batch(training.inputs, training.targets))

    def step(
        rule: AbstractRule,
        attempt: bool,
        everything: Batch,
        carry: PyTree,
        indices: Int[Array, " batch"],
        key: Array,
    ) -> tuple[Array, PyTree, Array]:
        """Returns whether the step was taken, what it left and its figures.

        An attempt is not taken where a sample was not solved.
        """
        learned, optimiser_state, weights, feedback_state, points = carry
        inputs = everything.inputs[indices]
        if config.augmentations:
            # A stream of its own, so that the rule's noise is the same without.
            inputs = augmented(config.augmentations, inputs, key=jax.random.fold_in(key, 1))
        start = jax.tree.map(lambda leaf: leaf[indices], points)
        batch = Batch(inputs, everything.targets[indices], start)
        feedback = eqx.combine(weights, fixed_feedback)
        credit = rule(eqx.combine(learned, fixed), feedback, batch, key=key)
        updates, optimiser_state = optimiser.update(credit.gradient, optimiser_state, learned)
        learned = _stepped(learned, updates, config.weight_decay)
        if credit.feedback_gradient is not None:
            gradient = credit.feedback_gradient
            if config.gradient_clip is not None:
                size = optax.tree.norm(credit.gradient)
                factor = config.gradient_clip / jnp.maximum(size, config.gradient_clip)
                gradient = jax.tree.map(lambda leaf: factor * leaf, gradient)
            updates, feedback_state = feedback_optimiser.update(gradient, feedback_state, weights)
            weights = _stepped(weights, updates, config.weight_decay)
        stats, found = credit.solution.stats, solved(credit.solution)
        taken = jnp.all(found) if attempt else jnp.asarray(True)
        if points is not None:
            # A sample that was not solved keeps the point that it had.
            points = jax.tree.map(
                lambda leaf, new: leaf.at[jnp.where(found & taken, indices, len(training))].set(
                    new, mode="drop"
                ),
                points,
                credit.solution.value,
            )
        figures = [
            credit.loss,
            credit.objective,
            jnp.mean(stats.control_norm),
            jnp.mean(stats.control_norm**2),
            jnp.mean(found),
            jnp.max(jnp.where(found, stats.error, 0)),
            jnp.mean(stats.steps),
            jnp.max(stats.steps),
            credit.count,
        ]
        assert len(figures) == FIGURES
        figures = jnp.stack([jnp.asarray(figure, blank.dtype) for figure in figures])
        after = (learned, optimiser_state, weights, feedback_state)
        if attempt:
            after = tree_where(taken, after, carry[:-1])
        return taken, (*after, points), figures

    def epoch(
        rule: AbstractRule, attempt: bool, everything: Batch, index: Array, begun: Begun
    ) -> Begun:
        """Returns the epoch after its last step, or after the last that an attempt has taken."""
        shuffled = jax.random.permutation(jax.random.fold_in(order_key, index), len(training))
        batches = shuffled[: steps * config.batch_size].reshape(steps, config.batch_size)
        keys = jax.random.split(jax.random.fold_in(noise_key, index), steps)
        single = functools.partial(step, rule, attempt, everything)

        def unfinished(state: tuple[Array, Begun]) -> Array:
            taken, begun = state
            return taken & (begun.steps < steps)

        def next_step(state: tuple[Array, Begun]) -> tuple[Array, Begun]:
            _, (number, carry, figures) = state
            taken, carry, own = single(carry, batches[number], keys[number])
            return taken, Begun(number + taken, carry, figures.at[number].set(own))

        return jax.lax.while_loop(unfinished, next_step, (jnp.asarray(True), begun))[1]

    optimiser_state, feedback_state = start.optimiser_states
    carry = place((learned, optimiser_state, weights, feedback_state, start.points))
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    none, blank = place((jnp.zeros((), jnp.int32), jnp.zeros((steps, FIGURES))))

    def program(rule: AbstractRule, attempt: bool) -> tuple[jax.stages.Compiled, int]:
        """Returns a compiled epoch and its working memory in bytes."""
        on_mesh = jax.jit(functools.partial(epoch, rule, attempt), out_shardings=sharding)
        compiled = on_mesh.lower(everything, none, Begun(none, carry, blank)).compile()
        memory = compiled.memory_analysis()
        return compiled, int(memory.temp_size_in_bytes) if memory else 0

    quick = without_safeguard(rule)
    first, first_bytes = program(rule if quick is None else quick, quick is not None)
    safeguarded, safeguarded_bytes = None, 0
    # Inside the compiled epoch labels have no values to check.
    own = local(everything)
    outputs = eqx.filter_eval_shape(
        lambda inputs: system.readout(system.initial_state(system.drive(inputs[0]))), own.inputs
    )
    rule.loss.check_target(own.targets, outputs.shape[0], math.inf)

    metrics = list(start.metrics)
    for number in range(len(metrics), config.epochs):
        began = time.perf_counter()
        before = _trained(local(carry), fixed, fixed_feedback, metrics)
        if number > len(start.metrics):
            look(number + 1, before)
        index = place(jnp.asarray(number, jnp.int32))
        step_bytes = first_bytes
        with _rule_errors(number + 1, before):
            begun = jax.block_until_ready(first(everything, index, Begun(none, carry, blank)))
            elapsed = time.perf_counter() - began
            if int(local(begun.steps)) < steps:
                if safeguarded is None:
                    safeguarded, safeguarded_bytes = program(rule, False)
                step_bytes = max(step_bytes, safeguarded_bytes)
                began = time.perf_counter()
                begun = jax.block_until_ready(safeguarded(everything, index, begun))
                elapsed += time.perf_counter() - began
        after = begun.carry
        figures = np.asarray(local(begun.figures)).T
        kept = map(np.asarray, jax.tree.leaves((after[0], after[2])))
        finite = all(np.isfinite(leaf).all() for leaf in kept)
        # The means of a step in which no sample counts are NaN, and its gradient is 0.
        counted = figures[:, figures[-1] > 0]
        if not finite or not np.isfinite(counted[0]).all():
            raise TrainingError(
                f"Epoch {number + 1} met a loss or a weight that is not finite; the weights before "
                "it are kept: lower the learning rate, clip the gradient, or ask for less control.",
                before,
            )
        if not counted.size:
            raise TrainingError(
                f"Epoch {number + 1} learned nothing, for no equilibrium of a sample was found, or "
                "only numbers that are not finite; the weights before it are kept: allow more "
                "steps or a larger tolerance, lower the learning rate, or ask for less control.",
                before,
            )
        learned, _, weights, *_ = local(after)
        system = calibrate(eqx.combine(learned, fixed), training)
        carry = (place(eqx.filter(system, eqx.is_inexact_array)), *after[1:])
        _, _, control, energy, found, residual, mean_steps, max_steps, _ = figures
        diagnostics = None
        if diagnose is not None:
            with _rule_errors(number + 1, before):
                diagnostics = diagnose(system, eqx.combine(weights, fixed_feedback))
        own = EpochMetrics(
            epoch=number + 1,
            loss=float(counted[0].mean()),
            objective=float(counted[1].mean()),
            control_norm=float(control.mean()),
            control_energy=float(energy.mean()),
            converged_fraction=float(found.mean()),
            residual_max=float(residual.max()),
            steps_mean=float(mean_steps.mean()),
            steps_max=int(max_steps.max()),
            step_ms=1e3 * elapsed / steps,
            seconds=elapsed,
            validation=evaluate(system, validation),
            updates=(number + 1) * steps,
            step_bytes=step_bytes,
            diagnostics=diagnostics,
        )
        metrics.append(own)
        if report is not None:
            report(own, _trained(local(carry), fixed, fixed_feedback, metrics))
    return _trained(local(carry), fixed, fixed_feedback, metrics)


def _in_parts(rule: AbstractRule, config: TrainingConfig, mesh: Mesh | None) -> AbstractRule:
    """Returns a rule that takes the batches of a configuration in their parts."""
    parts = config.accumulation_steps * (1 if mesh is None else mesh.size)
    if config.batch_size % parts:
        raise ValueError(
            f"`batch_size` is {config.batch_size}, but {parts // config.accumulation_steps} devices"
            f" take {config.accumulation_steps} equal parts each: write a multiple of {parts}, "
            "such as "
            f"batch_size={parts * max(1, config.batch_size // parts)}."
        )
    return rule if parts == 1 else InParts(rule, parts, mesh)


def _placement(
    mesh: Mesh | None,
) -> tuple[Callable[[PyTree], PyTree], Callable[[PyTree], PyTree]]:
    """Returns what copies arrays to every device of a mesh, and what takes one copy back."""
    if mesh is None:
        return (lambda tree: jax.tree.map(jnp.asarray, tree)), (lambda tree: tree)
    whole = NamedSharding(mesh, PartitionSpec())

    def place(tree: PyTree) -> PyTree:
        # Every process has all of it, and gives its own devices their copies.
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(whole, np.asarray(leaf)), tree
        )

    return place, lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _stepped(weights: PyTree, updates: PyTree, decay: float) -> PyTree:
    """Returns weights after an optimiser's updates and the decay of what they were before."""
    moved = optax.apply_updates(weights, updates)
    if decay == 0:
        return moved
    return jax.tree.map(
        lambda after, before: after - decay * before if before.ndim >= 2 else after, moved, weights
    )


def _trained(
    carry: PyTree, fixed: PyTree, fixed_feedback: PyTree, metrics: list[EpochMetrics]
) -> Trained:
    learned, optimiser_state, weights, feedback_state, points = carry
    return Trained(
        eqx.combine(learned, fixed),
        eqx.combine(weights, fixed_feedback),
        tuple(metrics),
        (optimiser_state, feedback_state),
        points,
    )


@contextlib.contextmanager
def _rule_errors(epoch: int, before: Trained) -> Iterator[None]:
    """Turns an error that a rule raised inside the compiled epoch into a `TrainingError`.

    `UnfitError` likewise.
    """
    # JAX logs a traceback of its callback besides raising.
    logger = logging.getLogger("jax._src.callback")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    except UnfitError as error:
        raise TrainingError(_stopped(epoch, str(error)), before) from error
    except jax.errors.JaxRuntimeError as error:
        sentence = re.search(r"EquinoxRuntimeError: (.+)", str(error))
        if sentence is None:
            raise
        raise TrainingError(_stopped(epoch, sentence[1]), before) from error
    finally:
        logger.disabled = was_disabled


def _stopped(epoch: int, reason: str) -> str:
    return f"Epoch {epoch} was stopped, and the weights before it are kept: {reason}"
