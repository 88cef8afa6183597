"""Vector-space operations on pytrees of one sample."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def tree_add(first: PyTree, second: PyTree) -> PyTree:
    """Adds two pytrees."""
    return jax.tree.map(jnp.add, first, second)


def tree_subtract(first: PyTree, second: PyTree) -> PyTree:
    """Subtracts the second pytree from the first."""
    return jax.tree.map(jnp.subtract, first, second)


def tree_scale(scale: float | Float[Array, ""], tree: PyTree) -> PyTree:
    """Multiplies a pytree by a number."""
    return jax.tree.map(lambda leaf: scale * leaf, tree)


def tree_where(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Selects the whole pytree `yes` or `no` by a boolean scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def dot(first: PyTree, second: PyTree) -> Float[Array, ""]:
    """Computes the inner product of two pytrees."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return jnp.asarray(sum(jax.tree.leaves(products)))


def norm(tree: PyTree) -> Float[Array, ""]:
    """Computes the Euclidean norm of a pytree."""
    return jnp.sqrt(dot(tree, tree))


def norms(*trees: PyTree) -> Float[Array, " trees"]:
    """Computes the norms of pytrees of one structure and shape.

    XLA makes several kernels of each reduction, so one for all takes less time and compiles faster.
    """

    def squares(*leaves: Array) -> Float[Array, " trees"]:
        stacked = jnp.stack([leaf.ravel() for leaf in leaves])
        return jnp.sum(stacked * stacked, axis=1)

    return jnp.sqrt(jnp.asarray(sum(jax.tree.leaves(jax.tree.map(squares, *trees)))))
