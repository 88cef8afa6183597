"""Training by epochs: what it starts from, the loop, and the errors that end it."""

import contextlib
import dataclasses
import logging
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from ..data import Samples
from ..equilibrium import Point
from ..losses import AbstractLoss
from ..rules import AbstractRule, Batch, InParts, batch_axis, without_safeguard
from ..rules._gradient_noise import with_tolerance
from ..systems import AbstractSystem
from ._calibration import calibrate
from ._config import TrainingConfig
from ._epochs import Epochs, FinishedEpoch, Order
from ._evaluation import AnyEvaluation, evaluate
from ._optimisers import make_feedback_optimiser, make_optimiser
from ._placement import Placement
from ._step import Carry, TrainingStep, divided, finite_mean
from ._trained import Diagnostics, EpochMetrics, Trained, TrainingError, UnfitError


def untrained(
    system: AbstractSystem,
    rule: AbstractRule,
    training: Samples,
    config: TrainingConfig,
    *,
    seed: int,
    mesh: Mesh | None = None,
) -> Trained:
    """Prepares what training with the same arguments starts from.

    With a mesh, everything lies on the devices of one copy, divided as `shardings` says.

    **Raises:** `ValueError` where a batch does not fit into the training set, or where a tolerance
    is to be chosen for a rule without a solve.
    """
    total = _steps(training, config) * config.epochs
    placement = Placement(mesh).one_copy
    system = calibrate(placement.held(system), training)
    draw = lambda system, key: rule.init(system, key=key)  # noqa: E731
    feedback = placement.drawn(draw, system, _keys(seed)[1])
    learned, weights = (eqx.filter(tree, eqx.is_inexact_array) for tree in (system, feedback))

    def first_states(learned: PyTree, weights: PyTree) -> tuple[optax.OptState, optax.OptState]:
        return (
            make_optimiser(config, total).init(learned),
            make_feedback_optimiser(config, total).init(weights),
        )

    # One compilation, and not one for the zeros of every shape.
    states = placement.made(first_states, learned, weights)
    kappa = None if config.strength is None else config.strength.first_kappa()
    tolerance = None
    if config.tolerance is not None:
        with_tolerance(rule, config.tolerance.first)
        config.tolerance.parts(config.batch_size, config.accumulation_steps)
        tolerance = jnp.asarray(config.tolerance.first)
    points = _first_points(system, training, config, placement)
    return Trained(system, feedback, (), states, points, kappa, tolerance)


def _first_points(
    system: AbstractSystem, training: Samples, config: TrainingConfig, placement: Placement
) -> Point | None:
    if not config.warm_start:
        return None
    first = jax.vmap(lambda x: Point.uncontrolled(system, system.drive(x)))
    return placement.made(first, jnp.asarray(training.inputs))


def _keys(seed: int) -> Array:
    """Makes the keys of the order of the samples, of the feedback weights and of the noise."""
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
    diagnose: Callable[[AbstractSystem, PyTree[Any], Array | None], Diagnostics] | None = None,
    report: Callable[[EpochMetrics, Trained], None] | None = None,
) -> Trained:
    """Trains a system by a rule.

    **Arguments:**

    * `system`, `rule`: what is trained, how. A system with batch norm is trained by a rule
      `WithBatchStatistics`; its statistics for evaluation are measured before the first epoch and
      after every one.
    * `training`, `validation`: data sets; nothing is learned from the second.
    * `config`: optimiser, schedule and batches.
    * `seed`: of the order of the samples, the rule's feedback weights and its noise. Two rules with
      the same seed see the same batches.
    * `start`: what an interrupted training with otherwise the same arguments left. Training goes on
      after its last epoch and ends with the same numbers as without the interruption, because the
      random keys of an epoch depend on nothing but the seed and the epoch's number.
    * `mesh`: devices that take equal parts of every batch, and along a second axis hold one copy of
      everything between them (`device_mesh`); they may belong to several processes that run the
      same training. Without it, the default device takes all. The numbers are those of one device
      up to the order of sums, where a rule draws nothing at random (`InParts`).
    * `watch`: looks at the system and the feedback weights before every epoch, and may raise
      `UnfitError` to stop the training.
    * `diagnose`: measures more of the system and the feedback weights after every epoch; it is
      given the relative leak κ too if `config` asks for a share of the loss, and `None` otherwise.
    * `report`: called after every epoch with its figures and with what is trained so far.

    **Raises:** `ValueError` where a batch does not fit into the training set, the data do not fit
    the system, or `start` is of a training that followed other measurements; `TrainingError` where
    a loss or a weight is no longer finite, where the policy for unsolved samples is to raise, where
    no sample of an epoch counted, and where `watch` stops the training.
    """
    whole, rule = rule, _in_parts(rule, config, mesh)
    if start is None:
        start = untrained(system, rule, training, config, seed=seed, mesh=mesh)
    _check_start(start, config)
    if len(start.metrics) >= config.epochs:
        return start
    # Before the compilation, which takes longer.
    _look(watch, start)
    steps = _steps(training, config)
    order_key, _, noise_key = _keys(seed)
    placement = Placement(mesh)
    carry, fixed = divided(start)
    carry = placement.spread(carry)
    samples = placement.spread(Batch(training.inputs, training.targets))
    step = TrainingStep(rule, config, steps * config.epochs, fixed)
    order = Order(order_key, noise_key, len(training), config.batch_size, steps)
    # A measurement takes a batch in parts by itself.
    measured = dataclasses.replace(step, rule=without_safeguard(whole) or whole)
    epochs = Epochs(step, order, samples, placement, carry, measured)
    _check_targets(rule.loss, system, placement.local(samples))
    metrics = list(start.metrics)
    for number in range(len(metrics), config.epochs):
        before = fixed.trained(placement.local(carry), metrics)
        if number > len(start.metrics):
            _look(watch, before)
        with _rule_errors(before):
            finished = epochs.run(number, carry)
        _check_figures(finished, placement.local(finished.carry), before)
        system, feedback = fixed.joined(placement.local(finished.carry))
        system = calibrate(system, training)
        learned = placement.spread(eqx.filter(system, eqx.is_inexact_array))
        carry = dataclasses.replace(finished.carry, learned=learned)
        diagnostics = None
        if diagnose is not None:
            with _rule_errors(before):
                diagnostics = diagnose(system, feedback, placement.local(carry.kappa))
        metrics.append(
            _metrics(
                number + 1,
                steps,
                finished,
                evaluate(system, validation),
                diagnostics,
                placement.local(carry.kappa),
            )
        )
        if report is not None:
            report(metrics[-1], fixed.trained(placement.local(carry), metrics))
    return fixed.trained(placement.local(carry), metrics)


def _in_parts(rule: AbstractRule, config: TrainingConfig, mesh: Mesh | None) -> AbstractRule:
    """Makes a rule take the batches of a configuration in their parts."""
    copies = 1 if mesh is None else mesh.shape[batch_axis(mesh)]
    parts = config.accumulation_steps * copies
    if config.batch_size % parts:
        raise ValueError(
            f"`batch_size` is {config.batch_size}, but {copies} copies of the weights take "
            f"{config.accumulation_steps} equal parts each: write a multiple of {parts}, such as "
            f"batch_size={parts * max(1, config.batch_size // parts)}."
        )
    return rule if parts == 1 else InParts(rule, parts, mesh)


def _check_targets(loss: AbstractLoss, system: AbstractSystem, samples: Batch) -> None:
    """Checks the labels by their values, which they do not have while a program is compiled."""
    outputs = eqx.filter_eval_shape(
        lambda inputs: system.readout(system.initial_state(system.drive(inputs[0]))), samples.inputs
    )
    loss.check_target(samples.targets, outputs.shape[0], math.inf)


def _check_figures(finished: FinishedEpoch, carry: Carry, before: Trained) -> None:
    """Raises `TrainingError` where an epoch's weights or losses are not finite, or none counts."""
    number, losses = len(before.metrics) + 1, finished.figures.counted().loss
    weights = map(np.asarray, jax.tree.leaves((carry.learned, carry.feedback)))
    if not all(np.isfinite(leaf).all() for leaf in (*weights, losses)):
        raise TrainingError(
            f"Epoch {number} met a loss or a weight that is not finite; the weights before it are "
            "kept: lower the learning rate, clip the gradient, or ask for less control.",
            before,
        )
    if not losses.size:
        raise TrainingError(
            f"Epoch {number} learned nothing, for no equilibrium of a sample was found, or only "
            "numbers that are not finite; the weights before it are kept: allow more steps or a "
            "larger tolerance, lower the learning rate, or ask for less control.",
            before,
        )


def _metrics(
    number: int,
    steps: int,
    finished: FinishedEpoch,
    validation: AnyEvaluation,
    diagnostics: Diagnostics | None,
    kappa: Array | None,
) -> EpochMetrics:
    """Sums up the figures of an epoch's steps."""
    figures = finished.figures
    counted = figures.counted()
    return EpochMetrics(
        epoch=number,
        loss=float(counted.loss.mean()),
        objective=float(counted.objective.mean()),
        control_norm=float(finite_mean(figures.control_norm)),
        control_energy=float(finite_mean(figures.control_energy)),
        converged_fraction=float(figures.converged_fraction.mean()),
        residual_max=float(figures.residual_max.max()),
        steps_mean=float(figures.steps_mean.mean()),
        steps_max=int(figures.steps_max.max()),
        step_ms=1e3 * finished.seconds / steps,
        seconds=finished.seconds,
        validation=validation,
        updates=number * steps,
        step_bytes=finished.step_bytes,
        diagnostics=diagnostics,
        removed=_mean_of_measured(np.asarray(figures.removed)),
        kappa=None if kappa is None else float(kappa),
        tolerance=_largest_of_known(np.asarray(figures.tolerance)),
    )


def _mean_of_measured(shares: np.ndarray) -> float | None:
    measured = shares[np.isfinite(shares)]
    return float(measured.mean()) if measured.size else None


def _largest_of_known(tolerances: np.ndarray) -> float | None:
    known = tolerances[np.isfinite(tolerances)]
    return float(known.max()) if known.size else None


def _check_start(start: Trained, config: TrainingConfig) -> None:
    """Raises `ValueError` unless a training goes on with what its start has followed."""
    followed = (
        ("strength", "a share of the loss", start.kappa),
        ("tolerance", "a tolerance by the gradient's noise", start.tolerance),
    )
    for name, words, value in followed:
        if (getattr(config, name) is None) != (value is None):
            before, now = ("without", "with") if value is None else ("with", "without")
            raise ValueError(
                f"`start` is of a training {before} {words}, and `config` is of one {now} it: give "
                "the config that it was trained with, or leave `start` out."
            )


def _look(watch: Callable[[AbstractSystem, PyTree[Any]], None] | None, before: Trained) -> None:
    if watch is not None:
        with _rule_errors(before):
            watch(before.system, before.feedback)


@contextlib.contextmanager
def _rule_errors(before: Trained) -> Iterator[None]:
    """Turns `UnfitError`, and what a rule raised in a compiled program, into `TrainingError`."""
    # Besides raising the error, JAX logs a traceback of its callback.
    logger = logging.getLogger("jax._src.callback")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    except UnfitError as error:
        raise _stopped(str(error), before) from error
    except jax.errors.JaxRuntimeError as error:
        sentence = re.search(r"EquinoxRuntimeError: (.+)", str(error))
        if sentence is None:
            raise
        raise _stopped(sentence[1], before) from error
    finally:
        logger.disabled = was_disabled


def _stopped(reason: str, before: Trained) -> TrainingError:
    return TrainingError(
        f"Epoch {len(before.metrics) + 1} was stopped, and the weights before it are kept: "
        f"{reason}",
        before,
    )
