"""Vector-space operations on pytrees of one sample."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def tree_add(first: PyTree, second: PyTree) -> PyTree:
    """Returns the sum of two pytrees."""
    return jax.tree.map(jnp.add, first, second)


def tree_subtract(first: PyTree, second: PyTree) -> PyTree:
    """Returns the difference of two pytrees."""
    return jax.tree.map(jnp.subtract, first, second)


def tree_scale(scale: float | Float[Array, ""], tree: PyTree) -> PyTree:
    """Returns a pytree times a number."""
    return jax.tree.map(lambda leaf: scale * leaf, tree)


def tree_where(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Returns `yes` or `no` as a whole, by a boolean scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def dot(first: PyTree, second: PyTree) -> Float[Array, ""]:
    """Returns the inner product of two pytrees."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return jnp.asarray(sum(jax.tree.leaves(products)))


def norm(tree: PyTree) -> Float[Array, ""]:
    """Returns the Euclidean norm of a pytree."""
    return jnp.sqrt(dot(tree, tree))
