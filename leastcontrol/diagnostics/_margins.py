"""Stability of a rest point under the dynamics that are to hold it, matrix-free.

What decides is the rightmost eigenvalue of the linearised dynamics. Arnoldi's method (ARPACK, by
SciPy) finds it from products with the Jacobian, which are derivatives along a direction: nothing of
the size of the state squared is formed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..equilibrium import ControlProblem, Point, Sample
from ..systems import AbstractSystem

# ARPACK wants a few more dimensions than it looks for eigenvalues.
SMALLEST_FOR_ARNOLDI = 8


def free_margin(
    system: AbstractSystem,
    drives: PyTree[Float[Array, "batch ..."]],
    states: PyTree[Float[Array, "batch ..."]],
) -> Float[np.ndarray, " batch"]:
    """Returns −max Re λ of ∂_φf at each sample's state; φ̇ = f(φ) is stable there above 0."""

    def dynamics(drive: PyTree, state: PyTree) -> PyTree:
        return system.vector_field(state, drive)

    return _margins(dynamics, drives, states)


def controlled_margin(
    problem: ControlProblem, samples: Sample, points: Point
) -> Float[np.ndarray, " batch"]:
    """Returns −max Re λ of dynamic inversion at each sample's controlled rest point.

        φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu,   αu + ∇_yL(y, t) = 0

    (arXiv 2207.01332, equation 8), with an output controller that is fast against the rest.
    """
    system = problem.system

    def dynamics(own: tuple[Sample, Array], both: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        sample, at_rest = own
        state, control = both

        field, read, pull = system.pullback(state, sample.drive)
        # The answer at rest is known, and so is how it changes with the readout.
        here = jax.lax.stop_gradient(read)
        slope = problem.loss.response_slope(
            here + problem.own_gain * at_rest, sample.target, problem.own_gain, problem.leak
        )
        output_control = at_rest - slope @ (read - here)
        return jax.tree.map(jnp.add, field, control), pull(control, output_control)

    both = (points.state, points.control)
    return _margins(dynamics, (samples, points.output_control), both)


def _margins(
    dynamics: Callable[[PyTree, PyTree], PyTree], own: PyTree, places: PyTree
) -> Float[np.ndarray, " batch"]:
    one = lambda tree, index: jax.tree.map(lambda leaf: leaf[index], tree)  # noqa: E731
    _, unravel = ravel_pytree(one(places, 0))

    @jax.jit
    def product(own: PyTree, place: PyTree, direction: Array) -> Array:
        along = unravel(direction)
        _, change = jax.jvp(lambda place: dynamics(own, place), (place,), (along,))
        return ravel_pytree(change)[0]

    count = jax.tree.leaves(places)[0].shape[0]
    return np.asarray([_margin(product, one(own, at), one(places, at)) for at in range(count)])


def _margin(product: Callable[..., Array], own: PyTree, place: PyTree) -> float:
    flat, _ = ravel_pytree(place)

    def times(direction: np.ndarray) -> np.ndarray:
        along = jnp.asarray(direction.ravel(), flat.dtype)
        return np.asarray(product(own, place, along), np.float64)

    if flat.size < SMALLEST_FOR_ARNOLDI:
        matrix = np.stack([times(column) for column in np.eye(flat.size)], axis=1)
        return -float(np.linalg.eigvals(matrix).real.max())
    linear_operator: Any = scipy.sparse.linalg.LinearOperator
    operator = linear_operator((flat.size, flat.size), matvec=times)
    rightmost = scipy.sparse.linalg.eigs(
        operator,
        k=1,
        which="LR",
        # A fixed start, so that the same question has the same answer.
        v0=np.ones(flat.size),
        ncv=min(flat.size, 40),
        return_eigenvectors=False,
    )
    return -float(np.asarray(rightmost).real.max())
