"""Angles between updates."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def angle(first: PyTree[Array], second: PyTree[Array]) -> Float[Array, ""]:
    """Computes the angle between two pytrees of the same shapes, as flat vectors, in degrees.

    It ranges from 0 for equal directions to 180 for opposite ones, and is NaN if one is zero.
    """
    dot = lambda a, b: sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)))  # noqa: E731
    square = jnp.asarray(dot(first, first) * dot(second, second))
    cosine = jnp.asarray(dot(first, second)) / jnp.sqrt(square)
    # Rounding can make the cosine of parallel vectors exceed one.
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def layer_angles(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Float[Array, ""], ...]:
    """Computes the angle for each layer, and last that of all layers together, in degrees.

    **Arguments:** two tuples with a pytree for each layer, of the same structure.
    """
    single = tuple(angle(a, b) for a, b in zip(first, second, strict=True))
    return (*single, angle(first, second))
