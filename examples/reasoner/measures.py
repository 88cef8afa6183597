"""What a trained reasoner does on puzzles, seen application by application.

A `Trace` follows every puzzle through many applications of the cell. All measures are read from
one: the accuracy after any number of applications, what the residual at the answer says of it, and
where two ways of stopping end, each sample by itself or a batch when its last sample rests.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int
from scipy.stats import rankdata

from .model import Hidden, Reasoner, readout, vector_field
from .sudoku import Puzzles


class Trace(NamedTuple):
    """Every puzzle after 1, 2, … applications of the cell.

    * `residual`: ‖f(φ)‖ / ‖φ‖ of the state.
    * `right`: the share of its cells whose digit is right.
    """

    residual: Float[np.ndarray, "applications puzzles"]
    right: Float[np.ndarray, "applications puzzles"]

    @property
    def exact(self) -> Bool[np.ndarray, "applications puzzles"]:
        """Whether all cells are right."""
        return self.right == 1


def trace(reasoner: Reasoner, puzzles: Puzzles, applications: int) -> Trace:
    """Follows puzzles through so many applications of the cell."""
    residual, right = _traced(reasoner, *map(jnp.asarray, puzzles), applications)
    return Trace(np.asarray(residual, float).T, np.asarray(right, float).T)


@jax.jit(static_argnums=3)
def _traced(
    reasoner: Reasoner,
    given: Int[Array, "puzzles cells"],
    solution: Int[Array, "puzzles cells"],
    applications: int,
) -> tuple[Float[Array, "puzzles applications"], Float[Array, "puzzles applications"]]:
    def of_one(given: Array, solution: Array) -> tuple[Array, Array]:
        drive = reasoner.drive(given)

        def step(carry: tuple[Hidden, Hidden], _: None) -> tuple[Any, tuple[Array, Array]]:
            state, change = carry
            state = state + change
            change = vector_field(reasoner, state, drive)
            right = jnp.argmax(readout(reasoner, state), axis=1) + 1 == solution
            residual = jnp.linalg.norm(change) / jnp.linalg.norm(state)
            return (state, change), (residual, jnp.mean(right, dtype=state.dtype))

        start = jnp.asarray(reasoner.start)
        first = (start, vector_field(reasoner, start, drive))
        return jax.lax.scan(step, first, length=applications)[1]

    return jax.vmap(of_one)(given, solution)


def accuracy_after(trace: Trace, applications: int) -> dict[str, float]:
    """Computes the shares of grids and of cells that are right after so many applications."""
    return {
        "exact": float(trace.exact[applications - 1].mean()),
        "cells": float(trace.right[applications - 1].mean()),
    }


def residual_against_accuracy(trace: Trace, applications: int, tolerance: float) -> dict[str, Any]:
    """Says what the residual after so many applications tells of the answer.

    * `solved`: the share of puzzles whose residual is within the tolerance.
    * `exact_of_solved`, `exact_of_unsolved`: the share of grids that are right among them; `None`
      if there are none.
    * `auroc`: the probability that of a right and a wrong answer the wrong one has the larger
      residual, ties counted half; `None` if all are right or all wrong.
    * `quarters`: the exact accuracy in each quarter of the puzzles, by increasing residual.
    """
    residual, exact = trace.residual[applications - 1], trace.exact[applications - 1]
    within = residual <= tolerance
    right, wrong = int(exact.sum()), int((~exact).sum())
    auroc = None
    if right and wrong:
        ranks = rankdata(residual)[~exact].sum()
        auroc = float((ranks - wrong * (wrong + 1) / 2) / (right * wrong))
    quarters = np.array_split(exact[np.argsort(residual, kind="stable")], 4)
    return {
        "solved": float(within.mean()),
        "exact_of_solved": float(exact[within].mean()) if within.any() else None,
        "exact_of_unsolved": float(exact[~within].mean()) if not within.all() else None,
        "auroc": auroc,
        "quarters": [float(quarter.mean()) for quarter in quarters],
    }


def stopping(trace: Trace, tolerance: float, batch: int) -> dict[str, dict[str, float]]:
    """Compares where two ways of stopping end, with the last application as the latest.

    `per_sample` stops each puzzle at its first residual within the tolerance; `batch_maximum` stops
    all puzzles of a batch, taken in their order, when the largest residual of the batch is. Of each
    it gives the mean number of `applications` of a puzzle, the share that `stopped` before the
    latest, and the `exact` accuracy there. Puzzles that fill no batch are left out.
    """
    whole = trace.residual.shape[1] // batch * batch
    residual, exact = trace.residual[:, :whole], trace.exact[:, :whole]
    within = residual <= tolerance
    together = within.reshape(len(within), -1, batch).all(axis=2)
    return {
        "per_sample": _stopped(within, exact),
        "batch_maximum": _stopped(np.repeat(together, batch, axis=1), exact),
    }


def _stopped(
    within: Bool[np.ndarray, "applications puzzles"],
    exact: Bool[np.ndarray, "applications puzzles"],
) -> dict[str, float]:
    stops = within.any(axis=0)
    last = np.where(stops, within.argmax(axis=0), len(within) - 1)
    return {
        "applications": float((last + 1).mean()),
        "stopped": float(stops.mean()),
        "exact": float(exact[last, np.arange(exact.shape[1])].mean()),
    }


def cosine(first: Reasoner, second: Reasoner) -> float:
    """Computes the cosine of the angle between two gradients; NaN if one of them is zero."""
    one, other = (ravel_pytree(gradient)[0] for gradient in (first, second))
    return float(jnp.vdot(one, other) / (jnp.linalg.norm(one) * jnp.linalg.norm(other)))
