"""How good a system is without control."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..data import Dataset
from ..equilibrium import FixedPoint, Tolerance, free_equilibrium, solved
from ..losses import AbstractLoss, CrossEntropy
from ..systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Figures of a system on a data set, at its free equilibrium.

    * `accuracy`: share of samples whose largest output is the target class.
    * `nll`: mean negative log-likelihood of the hard labels, in nats; for a sample whose
      equilibrium was not found, at the point that was reached.
    * `converged_fraction`: share of samples whose free equilibrium was found. A sample that was not
      solved counts as wrongly classified.
    """

    accuracy: float
    nll: float
    converged_fraction: float


@eqx.filter_jit
def _measure(
    system: AbstractSystem,
    loss: AbstractLoss,
    solver: FixedPoint,
    tolerance: Tolerance,
    inputs: Array,
    targets: Array,
) -> tuple[Array, Array, Array]:
    solution = free_equilibrium(
        system, jax.vmap(system.drive)(inputs), solver=solver, tolerance=tolerance
    )
    outputs = jax.vmap(system.readout)(solution.value)
    right = (jnp.argmax(outputs, axis=1) == targets) & solved(solution)
    losses = jax.vmap(loss)(outputs, targets)
    return jnp.sum(right), jnp.sum(losses), jnp.sum(solved(solution))


def evaluate(
    system: AbstractSystem,
    dataset: Dataset,
    *,
    solver: FixedPoint | None = None,
    tolerance: Tolerance | None = None,
    batch_size: int = 1000,
) -> Evaluation:
    """Returns the figures of a classifier on a data set.

    **Arguments:**

    * `system`, `dataset`: what is measured, on what.
    * `solver`, `tolerance`: of the free equilibrium of a system without an order; 400 steps
      and the default tolerance.
    * `batch_size`: how many samples are held at a time; no figure depends on it.

    **Raises:** `ValueError` for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` is {batch_size}, but samples are measured at least 1 at a time: write "
            "batch_size=1000."
        )
    solver = FixedPoint(max_steps=400) if solver is None else solver
    tolerance = Tolerance() if tolerance is None else tolerance
    totals = np.zeros(3)
    for first in range(0, len(dataset), batch_size):
        part = slice(first, first + batch_size)
        totals += [
            float(total)
            for total in _measure(
                system,
                CrossEntropy(),
                solver,
                tolerance,
                jnp.asarray(dataset.inputs[part]),
                jnp.asarray(dataset.targets[part]),
            )
        ]
    right, loss, found = (totals / len(dataset)).tolist()
    return Evaluation(right, loss if math.isfinite(loss) else math.nan, found)
