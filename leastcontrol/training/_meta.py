"""Meta-training: steps of a meta rule on tasks that are drawn as it goes, compiled in stretches."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..data import AbstractTasks
from ..equilibrium import Tolerance, solved
from ..meta import AbstractAdaptation, AbstractMetaRule
from ..rules import Batch
from ..systems import FastWeights

# Two-sided, of the normal distribution.
NINETY_FIVE = 1.959964


class MetaTrainingError(RuntimeError):
    """Meta-training cannot go on; `trained` holds the weights and figures from before."""

    def __init__(self, message: str, trained: "MetaTrained"):
        super().__init__(message)
        self.trained = trained


@dataclasses.dataclass(frozen=True)
class MetaTrainingConfig:
    """Adam on batches of tasks.

    **Arguments:**

    * `steps`: of the optimiser. `task_batch`: tasks in each of them.
    * `learning_rate`: Adam's.
    * `report_every`: steps between two looks at the validation tasks.
    * `validation_tasks`: how many; always the same ones.

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
class MetaEvaluation:
    """What adapted learners do on the query sets of tasks that they were not trained on.

    * `loss`: mean L_evaluate, and `loss_interval`, half the width of its 95 % interval over tasks.
    * `accuracy`, `accuracy_interval`: likewise of classification; `None` for regression.
    * `residual_median`: of the adaptations' residual as a multiple of what is allowed.
    * `not_finite_fraction`: share of tasks whose adaptation went beyond all numbers; they make the
      loss `nan`.
    """

    tasks: int
    loss: float
    loss_interval: float
    accuracy: float | None
    accuracy_interval: float | None
    residual_median: float
    not_finite_fraction: float


@dataclasses.dataclass(frozen=True)
class MetaMetrics:
    """The figures of a stretch of meta-training.

    * `step`: the steps that are behind.
    * `loss`, `objective`: means of `Credit.loss` and `Credit.objective` over the steps of the
      stretch in which a task counts.
    * `control_norm`: mean ‖(ψ, u)‖ of a task.
    * `converged_fraction`: share of tasks whose rest point was found.
    * `residual_median`: of a task's residual as a multiple of what is allowed: how far from rest
      the point was that was learned from.
    * `leak_residual_median`: of a task's ‖αu + ∇L_evaluate‖: how far its control was from its own
      equilibrium; zero for rules without control.
    * `not_finite_fraction`: share of tasks that went beyond all numbers; those never count.
    * `step_ms`: wall time of a step, in milliseconds, compilation not counted.
    * `step_bytes`: working memory of a step, in bytes, weights and tasks not counted.
    * `validation`: of the weights at the end of the stretch.
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
    """What meta-training leaves, and all that it needs to go on.

    * `system`: the slow weights and the pull.
    * `metrics`: the figures of the stretches so far.
    * `optimiser_state`: of Adam.
    """

    system: FastWeights
    metrics: tuple[MetaMetrics, ...]
    optimiser_state: PyTree

    def kept(self) -> PyTree:
        """Returns the arrays that `Checkpoints` keeps."""
        return self.system, self.optimiser_state

    def restored(self, kept: PyTree, rows: list[dict[str, Any]]) -> "MetaTrained":
        """Returns the same with the arrays of `kept`, and figures that are given as JSON's."""
        metrics = tuple(
            MetaMetrics(**{**row, "validation": MetaEvaluation(**row["validation"])})
            for row in rows
        )
        system, optimiser_state = kept
        return MetaTrained(system, metrics, optimiser_state)


def meta_untrained(system: FastWeights, config: MetaTrainingConfig) -> MetaTrained:
    """Returns what meta-training with the same arguments starts from."""
    learned = eqx.filter(system, eqx.is_inexact_array)
    return MetaTrained(system, (), optax.adam(config.learning_rate).init(learned))


def meta_evaluate(
    system: FastWeights,
    adaptation: AbstractAdaptation,
    tasks: AbstractTasks,
    count: int,
    *,
    key: PRNGKeyArray,
    task_batch: int = 50,
) -> MetaEvaluation:
    """Returns how well tasks are learned from these slow weights.

    **Arguments:**

    * `system`, `adaptation`: what learns a task, how.
    * `tasks`, `count`, `key`: which tasks; the same key gives the same ones.
    * `task_batch`: how many are adapted at once.

    **Raises:** `ValueError` for fewer than two tasks, which have no spread.
    """
    if count < 2:
        raise ValueError(
            f"`count` is {count}, but an interval takes at least 2 tasks: write count=600."
        )
    rounds = -(-count // task_batch)
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    losses, accuracies, errors = _evaluated(
        learned, fixed, adaptation, tasks, jax.random.split(key, rounds), task_batch
    )
    loss, error = (np.asarray(own).reshape(-1)[:count] for own in (losses, errors))
    accuracy = None if accuracies is None else np.asarray(accuracies).reshape(-1)[:count]
    return MetaEvaluation(
        tasks=count,
        loss=float(loss.mean()),
        loss_interval=_half_width(loss),
        accuracy=None if accuracy is None else float(accuracy.mean()),
        accuracy_interval=None if accuracy is None else _half_width(accuracy),
        residual_median=_median(error),
        not_finite_fraction=float(np.mean(~np.isfinite(error))),
    )


@eqx.filter_jit
def _evaluated(
    learned: PyTree,
    fixed: PyTree,
    adaptation: AbstractAdaptation,
    tasks: AbstractTasks,
    keys: Array,
    task_batch: int,
) -> tuple[Array, Array | None, Array]:
    system = eqx.combine(learned, fixed)
    tolerance = Tolerance()

    def of_one(support: PyTree, query: PyTree) -> tuple[Array, Array | None, Array]:
        solution = adaptation.solution(system, support, tolerance)
        accuracy = None
        if jnp.issubdtype(query.targets.dtype, jnp.integer):
            outputs = system.learner(solution.value)(query.inputs)
            accuracy = jnp.mean(jnp.argmax(outputs, axis=-1) == query.targets)
        return system.evaluation(solution.value, query), accuracy, solution.stats.error

    return jax.lax.map(lambda key: jax.vmap(of_one)(*tasks.batch(key, task_batch)), keys)


def _median(errors: np.ndarray) -> float:
    # A value that is not a number is the worst, and must not hide the others.
    return float(np.median(np.where(np.isnan(errors), np.inf, errors)))


def _half_width(values: np.ndarray) -> float:
    return NINETY_FIVE * float(values.std(ddof=1)) / math.sqrt(len(values))


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
    * `tasks`, `validation`: where tasks come from; the second are only looked at.
    * `config`: optimiser and batches.
    * `seed`: of the tasks; two rules with the same seed see the same ones.
    * `adaptation`: how validation tasks are learned; as the rule has it by default.
    * `start`: what an interrupted training with the same other arguments had left. Training goes on
      after its last stretch and ends with the same numbers as without the interruption: the tasks
      of a step depend on the seed and on its number alone.
    * `report`: called after every stretch with its figures and what is trained as it is.

    **Raises:** `MetaTrainingError` where a loss or a weight is no longer finite.
    """
    start = meta_untrained(system, config) if start is None else start
    adaptation = rule.adaptation if adaptation is None else adaptation
    task_key, validation_key = jax.random.split(jax.random.key(seed))
    learned, fixed = eqx.partition(start.system, eqx.is_inexact_array)
    carry = (learned, start.optimiser_state)
    rate = jnp.asarray(config.learning_rate)
    metrics = list(start.metrics)
    done = metrics[-1].step if metrics else 0
    for first in range(done, config.steps, config.report_every):
        indices = jnp.arange(first, min(first + config.report_every, config.steps))
        given = (carry, fixed, rule, tasks, task_key, rate, indices)
        lower = _stretch.lower  # pyright: ignore[reportFunctionMemberAccess]
        run = lower(*given, config.task_batch).compile()
        memory = run.compiled.memory_analysis()
        began = time.perf_counter()
        after, figures = jax.block_until_ready(run(*given, config.task_batch))
        elapsed = time.perf_counter() - began
        loss, objective, count, control, found, error, leak_residual = map(np.asarray, figures)
        # The means of a step in which no task counts are NaN, and its gradient is 0.
        loss, objective = loss[count > 0], objective[count > 0]
        kept = map(np.asarray, jax.tree.leaves(after[0]))
        if not np.isfinite(loss).all() or not all(np.isfinite(leaf).all() for leaf in kept):
            raise MetaTrainingError(
                f"Steps {first + 1} to {first + len(indices)} met a loss or a weight that is not "
                "finite; the weights before them are kept: lower the learning rate or the step "
                "size of the adaptation.",
                _trained(carry, fixed, metrics),
            )
        if not loss.size:
            raise MetaTrainingError(
                f"Steps {first + 1} to {first + len(indices)} learned nothing, for no task in them "
                "counted; the weights before them are kept: lower the learning rate or the step "
                "size of the adaptation, or allow more of its steps.",
                _trained(carry, fixed, metrics),
            )
        carry = after
        metrics.append(
            MetaMetrics(
                step=first + len(indices),
                loss=float(loss.mean()),
                objective=float(objective.mean()),
                control_norm=float(control.mean()),
                converged_fraction=float(found.mean()),
                residual_median=_median(error),
                leak_residual_median=_median(leak_residual),
                not_finite_fraction=float(np.mean(~np.isfinite(error))),
                step_ms=1e3 * elapsed / len(indices),
                step_bytes=int(memory.temp_size_in_bytes) if memory else 0,
                validation=meta_evaluate(
                    eqx.combine(carry[0], fixed),
                    adaptation,
                    validation,
                    config.validation_tasks,
                    key=validation_key,
                ),
            )
        )
        if report is not None:
            report(metrics[-1], _trained(carry, fixed, metrics))
    return _trained(carry, fixed, metrics)


# Whatever depends on the seed is an array, and so is the learning rate: what was compiled serves
# all seeds of a run and all rates of a search.
@eqx.filter_jit
def _stretch(
    carry: PyTree,
    fixed: PyTree,
    rule: AbstractMetaRule,
    tasks: AbstractTasks,
    key: PRNGKeyArray,
    rate: Float[Array, ""],
    indices: Int[Array, " stretch"],
    task_batch: int,
) -> tuple[PyTree, PyTree]:
    optimiser = optax.adam(rate)

    def step(carry: PyTree, index: Int[Array, ""]) -> tuple[PyTree, PyTree]:
        learned, state = carry
        support, query = tasks.batch(jax.random.fold_in(key, index), task_batch)
        credit = rule(eqx.combine(learned, fixed), None, Batch(support, query))
        updates, state = optimiser.update(credit.gradient, state, learned)
        stats = credit.solution.stats
        figures = (
            credit.loss,
            credit.objective,
            credit.count,
            jnp.mean(stats.control_norm),
            jnp.mean(solved(credit.solution)),
            stats.error,
            stats.leak_residual,
        )
        return (optax.apply_updates(learned, updates), state), figures

    return jax.lax.scan(step, carry, indices)


def _trained(carry: PyTree, fixed: PyTree, metrics: list[MetaMetrics]) -> MetaTrained:
    learned, optimiser_state = carry
    return MetaTrained(eqx.combine(learned, fixed), tuple(metrics), optimiser_state)
