"""The rule for a batch of tasks, and the one for what is read after an adaptation."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...equilibrium import RESULTS, Solution, Tolerance
from ...systems import FastWeights
from .._policy import AbstractUnsolved
from .._rule import Batch, Counted, Credit
from ._adaptation import AbstractAdaptation
from ._weights import Task, Weights


class Outcome(eqx.Module):
    """One task's gradient (a pytree like the system), its objective, its loss and its solution."""

    gradient: PyTree[Any]
    objective: Float[Array, ""]
    loss: Float[Array, ""]
    solution: Solution


class AbstractMetaRule(eqx.Module):
    """Learns the slow weights of `FastWeights`; it is called like an `AbstractRule`."""

    adaptation: eqx.AbstractVar[AbstractAdaptation]
    unsolved: eqx.AbstractVar[AbstractUnsolved]

    def init(self, system: FastWeights, *, key: PRNGKeyArray) -> None:
        """Returns `None`: no meta-learning rule has feedback weights."""
        del system, key

    @abc.abstractmethod
    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        """Computes the outcome of one task."""

    def __call__(
        self,
        system: FastWeights,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        """Computes the credit of a batch of tasks.

        **Raises:** `ValueError` if there are not as many support sets as query sets.
        """
        del feedback, key
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((batch.inputs, batch.targets))}
        if len(sizes) != 1 or sizes == {()}:
            raise ValueError(
                f"The first axes of the support and query sets are {sorted(sizes)}, but both are "
                "of one batch of tasks: give arrays with the same first axis."
            )
        outcome = jax.vmap(lambda s, q: _if_finite(self.of_task(system, s, q)))(
            batch.inputs, batch.targets
        )
        counted = Counted.in_batch(batch, self.unsolved, outcome.solution)
        gradient = counted.weighted(outcome.gradient)
        return Credit(
            jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), gradient),
            None,
            counted.mean(outcome.objective),
            counted.mean(outcome.loss),
            counted.count,
            outcome.solution,
        )


def _if_finite(outcome: Outcome) -> Outcome:
    """Marks a task as unsolved if its gradient, objective or loss is not finite."""
    numbers = (outcome.gradient, outcome.objective, outcome.loss)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(numbers)]))
    solution = outcome.solution
    error = jnp.where(finite, solution.stats.error, jnp.inf)
    result = RESULTS.where(finite, solution.result, RESULTS.no_finite_point)
    solution = eqx.tree_at(lambda s: (s.result, s.stats.error), solution, (result, error))
    return eqx.tree_at(lambda o: o.solution, outcome, solution)


class AbstractAfterAdaptation(AbstractMetaRule):
    """Computes its gradient at the fast weights where an adaptation without control ends."""

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        """Computes the gradient of one task, a pytree like the system."""

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        solution = self.adaptation.solution(system, support, self.tolerance)
        loss = system.evaluation(solution.value, query)
        gradient = self.gradient(system, solution.value, support, query)
        return Outcome(gradient, loss, loss, solution)
