"""Meta-training: steps of a meta rule on tasks that are drawn as it goes, stretch by stretch."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from ..data import AbstractTasks
from ..meta import AbstractAdaptation, AbstractMetaRule
from ..systems import FastWeights
from ._meta_evaluation import MetaEvaluation, median, meta_evaluate
from ._meta_step import MetaCarry, MetaFigures, stretch
from ._program import Program
from ._step import finite_mean


class MetaTrainingError(RuntimeError):
    """Meta-training cannot go on; `trained` holds the weights and figures from before."""

    def __init__(self, message: str, trained: "MetaTrained"):
        super().__init__(message)
        self.trained = trained


@dataclasses.dataclass(frozen=True)
class MetaTrainingConfig:
    """Adam on batches of tasks.

    **Arguments:**

    * `steps`: how many steps the optimiser takes. `task_batch`: tasks in each of them.
    * `learning_rate`: Adam's.
    * `report_every`: steps between two evaluations on the validation tasks.
    * `validation_tasks`: how many tasks that is; they are always the same ones.

    **Raises:** `ValueError` for a value out of its range.
    """

    steps: int
    task_batch: int = 16
    learning_rate: float = 1e-3
    report_every: int = 500
    validation_tasks: int = 200

    def __post_init__(self):
        for name in ("steps", "task_batch", "report_every", "validation_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but meta-training takes at least 1: write "
                    f"{name}=16."
                )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"`learning_rate` is {self.learning_rate}, but it is above 0 and finite: write "
                "learning_rate=1e-3."
            )


@dataclasses.dataclass(frozen=True)
class MetaMetrics:
    """The figures of a stretch of meta-training.

    * `step`: the number of steps so far.
    * `loss`, `objective`: means of `Credit.loss` and `Credit.objective` over the steps of the
      stretch in which a task counts.
    * `control_norm`: mean ‖(ψ, u)‖ of the tasks where it is finite.
    * `converged_fraction`: share of tasks whose rest point was solved for.
    * `residual_median`: the median of the tasks' residuals, as a multiple of what is allowed. It
      says how far from rest the points were that were learned from.
    * `leak_residual_median`: the median of the tasks' ‖αu + ∇L_evaluate‖. It says how far their
      controls were from equilibrium, and is zero for rules without control.
    * `not_finite_fraction`: share of tasks with numbers that are not finite; those never count.
    * `step_ms`: wall time of a step, in milliseconds, compilation not counted.
    * `step_bytes`: working memory of a step, in bytes, weights and tasks not counted.
    * `validation`: measured with the weights at the end of the stretch.
    """

    step: int
    loss: float
    objective: float
    control_norm: float
    converged_fraction: float
    residual_median: float
    leak_residual_median: float
    not_finite_fraction: float
    step_ms: float
    step_bytes: int
    validation: MetaEvaluation


@dataclasses.dataclass(frozen=True)
class MetaTrained:
    """What meta-training leaves, and everything that it needs to go on.

    * `system`: the slow weights and the pull.
    * `metrics`: the figures of the stretches so far.
    * `optimiser_state`: the state of Adam.
    """

    system: FastWeights
    metrics: tuple[MetaMetrics, ...]
    optimiser_state: PyTree

    def kept(self) -> PyTree:
        """Collects the arrays that `Checkpoints` keeps."""
        return self.system, self.optimiser_state

    def restored(self, kept: PyTree, rows: list[dict[str, Any]]) -> "MetaTrained":
        """Makes the same from the arrays of `kept` and from figures as JSON has them."""
        metrics = tuple(
            MetaMetrics(**{**row, "validation": MetaEvaluation(**row["validation"])})
            for row in rows
        )
        system, optimiser_state = kept
        return MetaTrained(system, metrics, optimiser_state)


def meta_untrained(system: FastWeights, config: MetaTrainingConfig) -> MetaTrained:
    """Prepares what meta-training with the same arguments starts from."""
    learned = eqx.filter(system, eqx.is_inexact_array)
    return MetaTrained(system, (), optax.adam(config.learning_rate).init(learned))


def meta_train(
    system: FastWeights,
    rule: AbstractMetaRule,
    tasks: AbstractTasks,
    validation: AbstractTasks,
    config: MetaTrainingConfig,
    *,
    seed: int,
    adaptation: AbstractAdaptation | None = None,
    start: MetaTrained | None = None,
    report: Callable[[MetaMetrics, MetaTrained], None] | None = None,
) -> MetaTrained:
    """Trains slow weights by a meta rule.

    **Arguments:**

    * `system`, `rule`: what is trained, how.
    * `tasks`, `validation`: where tasks come from; nothing is learned from the second.
    * `config`: optimiser and batches.
    * `seed`: of the tasks; two rules with the same seed see the same ones.
    * `adaptation`: how validation tasks are learned; by default as the rule learns its tasks.
    * `start`: what an interrupted training with otherwise the same arguments left. Training goes on
      after its last stretch and ends with the same numbers as without the interruption, because the
      tasks of a step depend on nothing but the seed and the step's number.
    * `report`: called after every stretch with its figures and with what is trained so far.

    **Raises:** `MetaTrainingError` where a loss or a weight is no longer finite, and where no task
    of a stretch counted.
    """
    start = meta_untrained(system, config) if start is None else start
    adaptation = rule.adaptation if adaptation is None else adaptation
    task_key, validation_key = jax.random.split(jax.random.key(seed))
    learned, fixed = eqx.partition(start.system, eqx.is_inexact_array)
    carry = MetaCarry(learned, start.optimiser_state)
    rate = jnp.asarray(config.learning_rate)
    trained, done = start, start.metrics[-1].step if start.metrics else 0
    for first in range(done, config.steps, config.report_every):
        numbers = jnp.arange(first, min(first + config.report_every, config.steps))
        given = (carry, fixed, rule, tasks, task_key, rate, numbers, config.task_batch)
        program = Program.of(stretch, *given)
        (carry, figures), seconds = program.timed(*given)
        figures = jax.tree.map(np.asarray, figures)
        _check_figures(figures, carry, first, trained)
        slow_weights = eqx.combine(carry.learned, fixed)
        validated = meta_evaluate(
            slow_weights, adaptation, validation, config.validation_tasks, key=validation_key
        )
        metrics = _metrics(figures, first, seconds, program.temporary_bytes, validated)
        trained = MetaTrained(slow_weights, (*trained.metrics, metrics), carry.optimiser_state)
        if report is not None:
            report(metrics, trained)
    return trained


def _check_figures(figures: MetaFigures, carry: MetaCarry, first: int, before: MetaTrained) -> None:
    """Raises `MetaTrainingError` where weights or losses are not finite, or no task counts."""
    steps, losses = f"Steps {first + 1} to {first + len(figures.loss)}", figures.counted().loss
    weights = map(np.asarray, jax.tree.leaves(carry.learned))
    if not all(np.isfinite(leaf).all() for leaf in (*weights, losses)):
        raise MetaTrainingError(
            f"{steps} met a loss or a weight that is not finite; the weights before them are kept: "
            "lower the learning rate or the step size of the adaptation.",
            before,
        )
    if not losses.size:
        raise MetaTrainingError(
            f"{steps} learned nothing, for no task in them counted; the weights before them are "
            "kept: lower the learning rate or the step size of the adaptation, or allow more of "
            "its steps.",
            before,
        )


def _metrics(
    figures: MetaFigures,
    first: int,
    seconds: float,
    step_bytes: int,
    validated: MetaEvaluation,
) -> MetaMetrics:
    """Sums up the figures of a stretch's steps."""
    steps, counted = len(figures.loss), figures.counted()
    return MetaMetrics(
        step=first + steps,
        loss=float(counted.loss.mean()),
        objective=float(counted.objective.mean()),
        control_norm=float(finite_mean(figures.control_norm)),
        converged_fraction=float(figures.converged_fraction.mean()),
        residual_median=median(figures.error),
        leak_residual_median=median(figures.leak_residual),
        not_finite_fraction=float(np.mean(~np.isfinite(figures.error))),
        step_ms=1e3 * seconds / steps,
        step_bytes=step_bytes,
        validation=validated,
    )
