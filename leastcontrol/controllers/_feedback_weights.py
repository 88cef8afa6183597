"""Feedback weights: drawing, checking and applying them.

There are two forms. The weights of a **mirror** correspond to the weights of the system that carry
control backwards, with the same shapes. **Direct** weights connect the output to every element of
the state. Several controllers and rules use each form.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..systems import AbstractSystem


def check_feedback(feedback: PyTree[Any], expected: PyTree[Any]) -> None:
    """Raises `ValueError` if feedback weights do not have the expected structure and shapes."""
    if feedback is None:
        raise ValueError(
            "There are no feedback weights, but this feedback needs them: write "
            "feedback = rule.init(system, key=key) and rule(system, feedback, batch, key=key)."
        )
    given, wanted = (
        (jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)])
        for tree in (feedback, expected)
    )
    if given != wanted:
        raise ValueError(
            f"The feedback weights have the shapes {given[1]}, but the system needs {wanted[1]}: "
            "give what rule.init(system, key=key) returned for this system."
        )


def mirror_weights(system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
    """Draws normal weights for a mirror, with the root mean square of each array of the system.

    They are as large as the weights of the system, but independent of them.
    """
    mirrored = eqx.filter(system, system.feedback_parameters())
    leaves, structure = jax.tree.flatten(mirrored)
    drawn = [
        jnp.sqrt(jnp.mean(leaf**2)) * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)
        for leaf_key, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def mirror_of(system: AbstractSystem, feedback: PyTree[Any]) -> AbstractSystem:
    """Makes the mirror of a system by replacing its weights by the feedback weights.

    **Raises:** `ValueError` for feedback weights that do not fit the system.
    """
    check_feedback(feedback, eqx.filter(system, system.feedback_parameters()))
    return eqx.combine(feedback, system)


def direct_weights(system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Array]:
    """Draws a weight for each pair of state element and output, uniform in ±1/√n.

    n is the number of state elements, so that the control Qu is about as large as u.
    """
    like = direct_weights_like(system)
    leaves, structure = jax.tree.flatten(like)
    bound = 1 / math.sqrt(sum(leaf.size // leaf.shape[-1] for leaf in leaves))
    drawn = [
        jax.random.uniform(leaf_key, leaf.shape, leaf.dtype, -bound, bound)
        for leaf_key, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def direct_weights_like(system: AbstractSystem) -> PyTree[Array]:
    """Returns zeros with the shapes of the direct weights of a system."""
    state = system.zero_state()
    outputs = jax.eval_shape(system.readout, state).shape[0]
    return jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, outputs), leaf.dtype), state)


def tree_slope(
    system: AbstractSystem, state: PyTree[Array], signal: PyTree[Array]
) -> PyTree[Array]:
    """Multiplies a signal by σ′(φ), elementwise."""
    ones = jax.tree.map(jnp.ones_like, state)
    _, slope = jax.jvp(system.activity, (state,), (ones,))
    return jax.tree.map(jnp.multiply, slope, signal)
