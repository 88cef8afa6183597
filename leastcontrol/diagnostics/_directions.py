"""Angles between updates."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def angle(first: PyTree[Array], second: PyTree[Array]) -> Float[Array, ""]:
    """Returns the angle between two pytrees of the same shapes, in degrees.

    It is that of the two as flat vectors, from 0 for the same direction to 180 for the opposite,
    and not a number where one of them is zero.
    """
    dot = lambda a, b: sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)))  # noqa: E731
    square = jnp.asarray(dot(first, first) * dot(second, second))
    cosine = jnp.asarray(dot(first, second)) / jnp.sqrt(square)
    # Rounding takes the cosine of parallel vectors beyond one, and no further than this.
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def layer_angles(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Float[Array, ""], ...]:
    """Returns the angle of each layer's part, and last that of all layers together, in degrees.

    **Arguments:** two tuples with a pytree for each layer, of the same structure.
    """
    own = tuple(angle(a, b) for a, b in zip(first, second, strict=True))
    return (*own, angle(first, second))
