"""Linear systems of a few unknowns inside a compiled hot path.

A batch of 4 × 4 or 10 × 10 solves through LAPACK is a loop of library calls, each dearer than its
arithmetic, between which nothing can be fused; measured in `docs/performance.md`. For a symmetric
positive definite matrix of a few rows elimination needs no pivoting and, written out, becomes a
handful of batched products.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def solve_small(matrix: Float[Array, "n n"], right: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns x with Ax = b, by elimination without pivoting.

    **Arguments:**

    * `matrix`: A, such that elimination without pivoting is stable: symmetric positive definite.
    * `right`: b.
    """
    size = right.shape[0]
    rows = jnp.concatenate([matrix, right[:, None]], axis=1)
    for pivot in range(size):
        row = rows[pivot] / rows[pivot, pivot]
        factors = jnp.where(jnp.arange(size) == pivot, 0.0, rows[:, pivot])
        rows = rows.at[pivot].set(row) - factors[:, None] * row[None, :]
    return rows[:, -1]
