"""One step of meta-training, and a stretch of them, compiled as a whole."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree

from ..data import AbstractTasks
from ..equilibrium import solved
from ..meta import AbstractMetaRule
from ..rules import Batch, Credit
from ._step import finite_mean


class MetaCarry(eqx.Module):
    """Everything that a step changes: the arrays that are learned, and the optimiser's state."""

    learned: PyTree[Any]
    optimiser_state: PyTree[Any]


class MetaFigures(eqx.Module):
    """The figures of one step, or of several along a first axis.

    * `loss`, `objective`, `count`: as in `Credit`.
    * `control_norm`: the mean ‖(ψ, u)‖ of the tasks where it is finite.
    * `converged_fraction`: share of the tasks whose rest point was found.
    * `error`, `leak_residual`: `Stats.error` and `Stats.leak_residual` of every task.
    """

    loss: Num[Array | np.ndarray, "*steps"]
    objective: Num[Array | np.ndarray, "*steps"]
    count: Num[Array | np.ndarray, "*steps"]
    control_norm: Num[Array | np.ndarray, "*steps"]
    converged_fraction: Num[Array | np.ndarray, "*steps"]
    error: Num[Array | np.ndarray, "*steps tasks"]
    leak_residual: Num[Array | np.ndarray, "*steps tasks"]

    @staticmethod
    def of(credit: Credit) -> "MetaFigures":
        """Measures the figures of a step by its credit."""
        stats = credit.solution.stats
        return MetaFigures(
            loss=credit.loss,
            objective=credit.objective,
            count=credit.count,
            control_norm=finite_mean(stats.control_norm),
            converged_fraction=jnp.mean(solved(credit.solution)),
            error=stats.error,
            leak_residual=stats.leak_residual,
        )

    def counted(self) -> "MetaFigures":
        """Leaves out the steps in which no task counts.

        Their means are NaN, and their gradient is 0.
        """
        return jax.tree.map(lambda figures: figures[self.count > 0], self)


# Whatever depends on the seed is an array, and so is the learning rate: what is compiled once
# serves all seeds of a run and all rates of a search.
@eqx.filter_jit
def stretch(
    carry: MetaCarry,
    fixed: PyTree[Any],
    rule: AbstractMetaRule,
    tasks: AbstractTasks,
    key: PRNGKeyArray,
    rate: Float[Array, ""],
    numbers: Int[Array, " stretch"],
    task_batch: int,
) -> tuple[MetaCarry, MetaFigures]:
    """Takes the steps of some numbers, each on tasks that are drawn for it.

    **Arguments:**

    * `fixed`: what is not learned.
    * `key`, `numbers`: the tasks of a step follow from these two alone.
    * `rate`: Adam's learning rate.
    * `task_batch`: tasks in a step.
    """
    optimiser = optax.adam(rate)

    def step(carry: MetaCarry, number: Int[Array, ""]) -> tuple[MetaCarry, MetaFigures]:
        support, query = tasks.batch(jax.random.fold_in(key, number), task_batch)
        credit = rule(eqx.combine(carry.learned, fixed), None, Batch(support, query))
        updates, state = optimiser.update(credit.gradient, carry.optimiser_state, carry.learned)
        learned = optax.apply_updates(carry.learned, updates)
        return MetaCarry(learned, state), MetaFigures.of(credit)

    return jax.lax.scan(step, carry, numbers)
