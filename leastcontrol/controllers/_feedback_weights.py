"""Feedback weights: how they are drawn, what is asked of them, what is done with them.

There are two forms. Those of a **mirror** have the place and shape of the system's own weights that
carry control backwards; **direct** ones go from the output to every element of the state. Several
controllers and rules share each form.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..systems import AbstractSystem


def check_feedback(feedback: PyTree[Any], expected: PyTree[Any]) -> None:
    """Refuses feedback weights of another structure or other shapes than are expected.

    **Raises:** `ValueError`.
    """
    if feedback is None:
        raise ValueError(
            "There are no feedback weights, and this feedback has some: write "
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
    """Returns normal weights for a mirror, each array's with the root mean square of the system's.

    So they are as large as the system's own, however that was initialised, and independent of them.
    """
    own = eqx.filter(system, system.feedback_parameters())
    leaves, structure = jax.tree.flatten(own)
    drawn = [
        jnp.sqrt(jnp.mean(leaf**2)) * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)
        for leaf_key, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def mirror_of(system: AbstractSystem, feedback: PyTree[Any]) -> AbstractSystem:
    """Returns the system with the feedback's weights in the place of its own.

    **Raises:** `ValueError` for feedback that is not the system's.
    """
    check_feedback(feedback, eqx.filter(system, system.feedback_parameters()))
    return eqx.combine(feedback, system)


def direct_weights(system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Array]:
    """Returns a weight for each element of the state and of the output, uniform in ±1/√n.

    n is the number of the state's elements; a control Qu is then about as large as u.
    """
    like = direct_weights_like(system)
    leaves, structure = jax.tree.flatten(like)
    bound = 1 / math.sqrt(sum(leaf.size // leaf.shape[-1] for leaf in leaves))
    drawn = [
        jax.random.uniform(own, leaf.shape, leaf.dtype, -bound, bound)
        for own, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def direct_weights_like(system: AbstractSystem) -> PyTree[Array]:
    """Returns zeros of the shape of the weights from the output to a system's state."""
    state = system.zero_state()
    outputs = jax.eval_shape(system.readout, state).shape[0]
    return jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, outputs), leaf.dtype), state)


def tree_slope(
    system: AbstractSystem, state: PyTree[Array], signal: PyTree[Array]
) -> PyTree[Array]:
    """Returns a signal times σ′(φ), element by element."""
    ones = jax.tree.map(jnp.ones_like, state)
    _, slope = jax.jvp(system.activity, (state,), (ones,))
    return jax.tree.map(jnp.multiply, slope, signal)
