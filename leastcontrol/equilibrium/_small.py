"""Small linear systems inside compiled loops.

A batch of 4 × 4 or 10 × 10 solves through LAPACK is a loop of library calls. Each call costs more
than its arithmetic and prevents fusion. A symmetric positive definite matrix needs no pivoting, so
elimination is a few batched products for each row. They stand in a loop: written out, they take two
seconds to compile for 8 × 8, and as long to run or longer.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def solve_small(matrix: Float[Array, "n n"], right: Float[Array, " n"]) -> Float[Array, " n"]:
    """Solves Ax = b by elimination without pivoting.

    **Arguments:**

    * `matrix`: A, symmetric positive definite.
    * `right`: b.
    """
    size = right.shape[0]
    rows = jnp.concatenate([matrix, right[:, None]], axis=1)

    def eliminate(pivot: Int[Array, ""], rows: Float[Array, "n _"]) -> Float[Array, "n _"]:
        row = rows[pivot] / rows[pivot, pivot]
        factors = jnp.where(jnp.arange(size) == pivot, 0.0, rows[:, pivot])
        return rows.at[pivot].set(row) - factors[:, None] * row[None, :]

    return jax.lax.fori_loop(0, size, eliminate, rows)[:, -1]
