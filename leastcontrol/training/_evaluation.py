"""Measures how good a system is without control."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..data import Dataset, Regression, Samples
from ..equilibrium import InTurn, Solver, Tolerance, free_equilibrium, solved
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The figures of a classifier on a data set, at its free equilibrium.

    * `accuracy`: share of samples whose largest output is the target class.
    * `nll`: mean negative log-likelihood of the hard labels, in nats. A sample that was not solved
      enters with the point that its solve reached.
    * `converged_fraction`: share of samples whose free equilibrium was solved for. All others count
      as wrongly classified.
    """

    accuracy: float
    nll: float
    converged_fraction: float

    @property
    def score(self) -> float:
        """The accuracy, which is largest for the best weights."""
        return self.accuracy


@dataclasses.dataclass(frozen=True)
class RegressionEvaluation:
    """The figures of a system on samples with target vectors, at its free equilibrium.

    * `mean_squared_error`: the mean of (y_j − t_j)² over the outputs and the samples, in units of
      the targets squared. A sample that was not solved enters with the point that its solve
      reached.
    * `converged_fraction`: share of samples whose free equilibrium was solved for.
    """

    mean_squared_error: float
    converged_fraction: float

    @property
    def score(self) -> float:
        """Minus the error, which is largest for the best weights; −∞ if the error is not finite."""
        return -self.mean_squared_error if math.isfinite(self.mean_squared_error) else -math.inf


AnyEvaluation = Evaluation | RegressionEvaluation
"""The figures of a system on samples of either kind."""


def evaluation_of(figures: dict[str, Any]) -> AnyEvaluation:
    """Makes an evaluation of the kind that figures by name belong to."""
    kind = Evaluation if "accuracy" in figures else RegressionEvaluation
    return kind(**figures)


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How a classifier's answers are spread over the classes of a data set.

    * `counts`: for each class of the samples, and for each answer, how many solved samples.
    * `unsolved`: for each class of the samples, how many whose free equilibrium was not found.
    """

    counts: tuple[tuple[int, ...], ...]
    unsolved: tuple[int, ...]


class _Part(NamedTuple):
    """The sums over a batch of right answers, losses and solved samples, and each sample's answer.

    The answer is −1 where the sample was not solved.
    """

    right: Array | np.ndarray
    loss: Array | np.ndarray
    solved: Array | np.ndarray
    answers: Array | np.ndarray


@eqx.filter_jit
def _measure(
    system: AbstractSystem,
    loss: AbstractLoss,
    solver: Solver,
    tolerance: Tolerance,
    inputs: Array,
    targets: Array,
) -> _Part:
    solution = free_equilibrium(
        system, jax.vmap(system.drive)(inputs), solver=solver, tolerance=tolerance
    )
    outputs = jax.vmap(system.readout)(solution.value)
    right = jnp.zeros(len(targets), bool)
    answers = jnp.where(solved(solution), jnp.argmax(outputs, axis=1), -1)
    if targets.ndim == 1:
        right = answers == targets
    losses = jax.vmap(loss)(outputs, targets)
    return _Part(jnp.sum(right), jnp.sum(losses), jnp.sum(solved(solution)), answers)


@overload
def evaluate(
    system: AbstractSystem,
    dataset: Dataset,
    *,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 1000,
) -> Evaluation: ...


@overload
def evaluate(
    system: AbstractSystem,
    dataset: Samples,
    *,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 1000,
) -> AnyEvaluation: ...


def evaluate(
    system: AbstractSystem,
    dataset: Samples,
    *,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 1000,
) -> AnyEvaluation:
    """Measures a system on a data set, as a classifier or as a regression.

    **Arguments:**

    * `system`, `dataset`: what is measured, on what.
    * `solver`, `tolerance`: for the free equilibrium of a system without an order; by default
      `InTurn()`, and the default tolerance.
    * `batch_size`: how many samples are solved at a time; no figure depends on it.

    **Raises:** `ValueError` for a batch size below 1.
    """
    parts = _measured(system, dataset, solver, tolerance, batch_size)
    return _figures(dataset, parts)


def evaluate_and_count(
    system: AbstractSystem,
    dataset: Dataset,
    *,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 1000,
) -> tuple[Evaluation, Confusion]:
    """Measures a classifier, and counts its answers by the class of the sample, without control.

    The arguments are those of `evaluate`, which returns the same evaluation.

    **Raises:** `ValueError` for a batch size below 1.
    """
    parts = _measured(system, dataset, solver, tolerance, batch_size)
    evaluation = _figures(dataset, parts)
    assert isinstance(evaluation, Evaluation)
    answers = np.concatenate([part.answers for part in parts])
    targets, classes = np.asarray(dataset.targets), range(dataset.classes)
    counts = np.zeros((dataset.classes, dataset.classes), int)
    is_solved = answers >= 0
    np.add.at(counts, (targets[is_solved], answers[is_solved]), 1)
    unsolved = [int(np.sum(targets[~is_solved] == number)) for number in classes]
    return evaluation, Confusion(tuple(map(tuple, counts.tolist())), tuple(unsolved))


def _figures(dataset: Samples, parts: Sequence[_Part]) -> AnyEvaluation:
    totals = np.zeros(3)
    for part in parts:
        totals += [float(total) for total in (part.right, part.loss, part.solved)]
    right, total, converged = (totals / len(dataset)).tolist()
    total = total if math.isfinite(total) else math.nan
    if isinstance(dataset, Regression):
        return RegressionEvaluation(2 * total / dataset.targets.shape[1], converged)
    return Evaluation(right, total, converged)


def _measured(
    system: AbstractSystem,
    dataset: Samples,
    solver: Solver | None,
    tolerance: Tolerance | None,
    batch_size: int,
) -> list[_Part]:
    """Measures a data set batch by batch."""
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` is {batch_size}, but samples are measured at least 1 at a time: write "
            "batch_size=1000."
        )
    loss = SquaredError() if isinstance(dataset, Regression) else CrossEntropy()
    parts = []
    for first in range(0, len(dataset), batch_size):
        here = slice(first, first + batch_size)
        measured = _measure(
            system,
            loss,
            InTurn() if solver is None else solver,
            Tolerance() if tolerance is None else tolerance,
            jnp.asarray(dataset.inputs[here]),
            jnp.asarray(dataset.targets[here]),
        )
        # Waits for the batch, so that one at a time is in memory.
        parts.append(_Part(*map(np.asarray, measured)))
    return parts
