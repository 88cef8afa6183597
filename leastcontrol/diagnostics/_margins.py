"""Stability of a rest point under the dynamics that are to hold it, matrix-free.

What decides is the rightmost eigenvalue of the linearised dynamics. Arnoldi's method (ARPACK, by
SciPy) finds it from products with the Jacobian, which are derivatives along a direction: nothing of
the size of the state squared is formed. A margin that it does not find is NaN.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..equilibrium import (
    ControlProblem,
    Dynamics,
    Memory,
    Moment,
    Point,
    Sample,
    dynamics_step,
)
from ..systems import AbstractSystem, Feedforward

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


def simulated_margin(
    network: Feedforward,
    dynamics: Dynamics,
    drives: Float[Array, "batch first"],
    references: PyTree[Any],
    moments: Moment,
    *,
    error: Callable[[Array, PyTree[Any]], Array],
    feedback: Callable[[tuple[Array, ...], Array], tuple[Array, ...]],
) -> Float[np.ndarray, " batch"]:
    """Returns −log|μ| / Δt of each sample, μ the largest eigenvalue of the step that is simulated.

    The step is linearised as it is taken, with its length, delay, apical lag and filter, in all
    that it carries, but without its noise. Below 0 a small deviation grows by |μ| with every step;
    for short steps, without lag and filter, it is `stability_margin`, in the same unit.

    **Arguments:** as for `leastcontrol.equilibrium.simulate`; `moments`, where the step of each
    sample is linearised. Callables that are pytrees (`equinox.Partial`) are not compiled anew for
    other arrays.
    """
    quiet = dataclasses.replace(dynamics, noise=None)
    integral = jax.vmap(error)(moments.soma[-1], references)
    integral = moments.control - dynamics.proportional_gain * integral
    memory = Memory(integral, moments.control, ())
    step = eqx.Partial(_step, network, quiet, error, feedback)
    margins = _extremes(step, (drives, references), (moments, memory), "LM", np.abs)
    return -np.log(margins) / dynamics.time_step


def _step(
    network: Feedforward,
    dynamics: Dynamics,
    error: Callable[..., Array],
    feedback: Callable[..., tuple[Array, ...]],
    own: tuple[Array, PyTree],
    place: tuple[Moment, Memory],
) -> tuple[Moment, Memory]:
    drive, reference = own
    step = dynamics_step(network, dynamics, error, feedback)
    return step(jnp.asarray(True), drive, reference, *place, ())


def _margins(
    dynamics: Callable[[PyTree, PyTree], PyTree], own: PyTree, places: PyTree
) -> Float[np.ndarray, " batch"]:
    return -_extremes(dynamics, own, places, "LR", np.real)


def _extremes(
    dynamics: Callable[[PyTree, PyTree], PyTree],
    own: PyTree,
    places: PyTree,
    which: str,
    measure: Callable[[np.ndarray], np.ndarray],
) -> Float[np.ndarray, " batch"]:
    """Returns the largest measure of an eigenvalue of the linearised dynamics of each sample.

    **Arguments:** `which`, ARPACK's word for it.
    """
    one = lambda tree, index: jax.tree.map(lambda leaf: leaf[index], tree)  # noqa: E731
    count = jax.tree.leaves(places)[0].shape[0]
    found = [_eigenvalues(dynamics, one(own, at), one(places, at), which) for at in range(count)]
    return np.asarray([measure(values).max() for values in found])


@eqx.filter_jit
def _product(
    dynamics: Callable[[PyTree, PyTree], PyTree], own: PyTree, place: PyTree, direction: Array
) -> Array:
    _, unravel = ravel_pytree(place)
    _, change = jax.jvp(lambda place: dynamics(own, place), (place,), (unravel(direction),))
    return ravel_pytree(change)[0]


def _eigenvalues(
    dynamics: Callable[[PyTree, PyTree], PyTree], own: PyTree, place: PyTree, which: str
) -> np.ndarray:
    """Returns all eigenvalues of a small problem, and the outermost of a large one, or NaN."""
    flat, _ = ravel_pytree(place)

    def times(direction: np.ndarray) -> np.ndarray:
        along = jnp.asarray(direction.ravel(), flat.dtype)
        return np.asarray(_product(dynamics, own, place, along), np.float64)

    if flat.size < SMALLEST_FOR_ARNOLDI:
        matrix = np.stack([times(column) for column in np.eye(flat.size)], axis=1)
        return np.linalg.eigvals(matrix)
    # Imported here because it takes long, and few need it.
    import scipy.sparse.linalg

    linear_operator: Any = scipy.sparse.linalg.LinearOperator
    operator = linear_operator((flat.size, flat.size), matvec=times)
    try:
        outermost = scipy.sparse.linalg.eigs(
            operator,
            k=1,
            which=which,
            # A fixed start, so that the same question has the same answer.
            v0=np.ones(flat.size),
            ncv=min(flat.size, 40),
            # Products are no more exact than the numbers that they are made of.
            tol=float(jnp.finfo(flat.dtype).eps),  # pyright: ignore[reportArgumentType]
            return_eigenvectors=False,
        )
    except scipy.sparse.linalg.ArpackError:
        return np.asarray([np.nan])
    return np.asarray(outermost)
