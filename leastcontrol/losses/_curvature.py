"""Linear equations with a Hessian, and directions along which it bends down, by products with it.

Conjugate gradients do both, so no matrix of outputs by outputs is formed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from ._loss import Number, Output, Scalar

CONVEXITY_STEPS = 64
"""Largest number of products that look for a direction along which a function bends down."""


class Conjugate(NamedTuple):
    step: Float[Array, " outputs"]
    residual: Float[Array, " outputs"]
    direction: Float[Array, " outputs"]
    # v·Av for the last direction, divided by its length to v.
    curvature: Scalar
    steps: Integer[Array, ""]
    ended: Bool[Array, ""]


def conjugate_gradients(
    product: Callable[[Output], Output], right: Output, enough: Number, most: int
) -> Conjugate:
    """Solves Ad = b from d = 0, until ‖b − Ad‖² is small enough or a direction bends down."""

    def unfinished(last: Conjugate) -> Bool[Array, ""]:
        return ~last.ended & (last.steps < most)

    def advance(last: Conjugate) -> Conjugate:
        bent = product(last.direction)
        along, square = jnp.sum(last.direction * bent), jnp.sum(last.residual**2)
        curved = along > 0
        length = jnp.where(curved, square / jnp.where(curved, along, 1), 0)
        step = last.step + length * last.direction
        left = last.residual - length * bent
        left_squared = jnp.sum(left**2)
        direction = left + left_squared / jnp.where(square > 0, square, 1) * last.direction
        curvature = along / jnp.sum(last.direction**2)
        ended = ~curved | (left_squared <= enough)
        return Conjugate(step, left, direction, curvature, last.steps + 1, ended)

    first = Conjugate(
        jnp.zeros_like(right),
        right,
        right,
        jnp.ones((), right.dtype),
        jnp.zeros((), jnp.int32),
        ~(jnp.sum(right**2) > 0),
    )
    return jax.lax.while_loop(unfinished, advance, first)


def concavity_of(bend: Callable[[Output], Output], output: Output, scale: Number) -> Scalar:
    """Measures by how much a symmetric linear function bends down along some direction.

    Returns −vᵀAv / ‖v‖² of a direction v that conjugate gradients meet, as a share of the size of A
    plus the scale; 0 if they meet none. They start in a generic direction, and meet one within as
    many steps as there are outputs if there is one, usually much earlier. Curvature of less than √ε
    times that size counts as none, for the machine epsilon ε.

    **Arguments:**

    * `bend`: v ↦ Av.
    * `output`: a vector like v.
    * `scale`: a curvature beside which that of A is small if it does not matter.
    """
    generic = np.random.default_rng(1).normal(size=output.size)
    first = jnp.asarray(generic / np.linalg.norm(generic), output.dtype)
    epsilon = jnp.finfo(output.dtype).eps
    size = jnp.abs(jnp.asarray(scale, output.dtype)) + jnp.sqrt(jnp.sum(bend(first) ** 2))
    # The second term is the rounding of a Hessian whose terms are of size 1 and cancel.
    slack = jnp.sqrt(epsilon) * size + 16 * epsilon
    shifted = lambda v: bend(v) + slack * v  # noqa: E731
    enough = float(epsilon) ** 2
    last = conjugate_gradients(shifted, first, enough, min(output.size, CONVEXITY_STEPS))
    along = last.curvature - slack
    return jnp.where(last.curvature <= 0, -along / (size + slack), 0)
