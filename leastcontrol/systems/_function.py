"""A system made of two user functions, f and h."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ._system import AbstractSystem, all_matrices


class FunctionSystem(AbstractSystem):
    """A system made of user functions: the vector field f(params, state, x) and h(params, state).

    **Arguments:**

    * `vector_field_function`: f; returns a pytree with the structure, shapes and dtypes of one
      sample's state, zero at rest.
    * `readout_function`: h; returns a vector of shape `(outputs,)`.
    * `params`: any pytree; its inexact arrays are learned.
    * `start`: the state from which solvers start, a pytree of arrays (often zeros).
    * `output_neurons`: whether the output has neurons of its own, so that y = h + u under control
      (the papers' choice); otherwise y = h.

    **Raises:** `ValueError` at the first input if f's output does not match the state or h's output
    is not a vector.
    """

    params: PyTree[Any]
    vector_field_function: Callable[[PyTree, PyTree, PyTree], PyTree] = eqx.field(static=True)
    readout_function: Callable[[PyTree, PyTree], Array] = eqx.field(static=True)
    start: "_Start" = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True)

    def __init__(
        self,
        vector_field_function: Callable[[PyTree, PyTree, PyTree], PyTree],
        readout_function: Callable[[PyTree, PyTree], Array],
        params: PyTree[Any],
        start: PyTree[Any],
        *,
        output_neurons: bool = True,
    ):
        if not jax.tree.leaves(start):
            raise ValueError(
                "`start` holds no array, but the state needs at least one: write "
                "start=jnp.zeros(64), or a pytree of arrays."
            )
        for leaf in jax.tree.leaves(start):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise ValueError(
                    f"`start` holds an array of dtype {jnp.result_type(leaf)}, but a state is of "
                    "floating point: write start=jnp.zeros(64)."
                )
        self.params = params
        self.vector_field_function = vector_field_function
        self.readout_function = readout_function
        self.start = _Start(start)
        self.output_neurons = output_neurons

    def drive(self, x: PyTree[Any]) -> PyTree[Any]:
        """Returns x unchanged, because the part of f that depends on x alone is unknown."""
        return x

    def initial_state(self, drive: PyTree[Any]) -> PyTree[Float[Array, "..."]]:
        """Returns the start, after checking the outputs of f and h against it."""
        start = self.start.arrays()
        field = eqx.filter_eval_shape(self.vector_field_function, self.params, start, drive)
        if jax.tree.structure(field) != jax.tree.structure(start):
            raise ValueError(
                f"f returned the structure {jax.tree.structure(field)}, but the state's is "
                f"{jax.tree.structure(start)}: return one derivative for each array of the state."
            )
        for path, (given, expected) in _paired_leaves(field, start):
            if (given.shape, given.dtype) != (expected.shape, expected.dtype):
                raise ValueError(
                    f"f returned {given.dtype}{list(given.shape)} for the state{path}, which is "
                    f"{expected.dtype}{list(expected.shape)}: return a derivative of the state's "
                    "shape and dtype."
                )
        output = eqx.filter_eval_shape(self.readout_function, self.params, start)
        if (
            not isinstance(output, jax.ShapeDtypeStruct)
            or len(output.shape) != 1
            or not jnp.issubdtype(output.dtype, jnp.floating)
        ):
            raise ValueError(
                f"h returned {output}, but an output is one vector of floating point: return an "
                "array of shape (outputs,) for one sample."
            )
        return start

    def zero_state(self) -> PyTree[Float[Array, "..."]]:
        """Returns zeros with the shapes of the start."""
        return jax.tree.map(jnp.zeros_like, self.start.arrays())

    def activity(self, state: PyTree[Float[Array, "..."]]) -> PyTree[Float[Array, "..."]]:
        """Returns φ itself."""
        return state

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(
        self, state: PyTree[Float[Array, "..."]], drive: PyTree[Any]
    ) -> PyTree[Float[Array, "..."]]:
        """Computes f(params, state, x)."""
        return self.vector_field_function(self.params, state, drive)

    def readout(self, state: PyTree[Float[Array, "..."]]) -> Float[Array, " outputs"]:
        """Computes h(params, state)."""
        return self.readout_function(self.params, state)


class _Start:
    """A pytree of constant arrays, hashable so that it is static structure and not a parameter.

    Under a trace the arrays may have no values; then the object is equal to itself alone.
    """

    def __init__(self, tree: PyTree[Any]):
        leaves, self._structure = jax.tree.flatten(tree)
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        self._leaves = tuple(leaf if traced else np.asarray(leaf) for leaf in leaves)
        if traced:
            self._identity = object()
            return
        self._identity = (
            self._structure,
            tuple((leaf.shape, leaf.dtype.str, leaf.tobytes()) for leaf in self._leaves),
        )

    def arrays(self) -> PyTree[Array]:
        return jax.tree.unflatten(
            self._structure, [jax.lax.stop_gradient(jnp.asarray(leaf)) for leaf in self._leaves]
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Start) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def _paired_leaves(first: PyTree, second: PyTree) -> list:
    return [
        (jax.tree_util.keystr(path), (leaf, other))
        for (path, leaf), other in zip(
            jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True
        )
    ]
