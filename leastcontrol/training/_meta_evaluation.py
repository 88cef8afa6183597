"""How well tasks are learned from given slow weights."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..data import AbstractTasks
from ..equilibrium import Tolerance
from ..meta import AbstractAdaptation
from ..systems import FastWeights

# Two-sided, of the normal distribution.
NINETY_FIVE = 1.959964


@dataclasses.dataclass(frozen=True)
class MetaEvaluation:
    """How well adapted learners solve the query sets of tasks that they were not trained on.

    * `loss`, `loss_interval`: the mean of L_evaluate, and half the width of its 95 % interval over
      tasks.
    * `accuracy`, `accuracy_interval`: the same of the accuracy; `None` for regression.
    * `residual_median`: the median of the adaptations' residuals, as a multiple of what is allowed.
    * `not_finite_fraction`: share of tasks whose adaptation ended with numbers that are not finite;
      they make the loss `nan`.
    """

    tasks: int
    loss: float
    loss_interval: float
    accuracy: float | None
    accuracy_interval: float | None
    residual_median: float
    not_finite_fraction: float


def meta_evaluate(
    system: FastWeights,
    adaptation: AbstractAdaptation,
    tasks: AbstractTasks,
    count: int,
    *,
    key: PRNGKeyArray,
    task_batch: int = 50,
) -> MetaEvaluation:
    """Measures how well tasks are learned from slow weights.

    **Arguments:**

    * `system`, `adaptation`: what learns a task, how.
    * `tasks`, `count`, `key`: where tasks come from, how many are drawn, and by which random key;
      the same key gives the same ones.
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
    loss, error = (np.asarray(values).reshape(-1)[:count] for values in (losses, errors))
    accuracy = None if accuracies is None else np.asarray(accuracies).reshape(-1)[:count]
    return MetaEvaluation(
        tasks=count,
        loss=float(loss.mean()),
        loss_interval=_half_width(loss),
        accuracy=None if accuracy is None else float(accuracy.mean()),
        accuracy_interval=None if accuracy is None else _half_width(accuracy),
        residual_median=median(error),
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


def median(errors: Array | np.ndarray) -> float:
    """Takes the median of errors, in which a value that is not a number is the largest."""
    # It must not hide the others.
    return float(np.median(np.where(np.isnan(errors), np.inf, errors)))


def _half_width(values: np.ndarray) -> float:
    return NINETY_FIVE * float(values.std(ddof=1)) / math.sqrt(len(values))
