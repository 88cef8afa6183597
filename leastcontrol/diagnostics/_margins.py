"""Stability margins of equilibria, matrix-free.

The rightmost eigenvalue of the linearised dynamics determines stability. Arnoldi's method (ARPACK,
through SciPy) computes it from Jacobian products, which are directional derivatives, so no matrix
with the squared size of the state is formed. The margin is NaN if Arnoldi's method fails.
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

# ARPACK needs a few more dimensions than the eigenvalues it computes.
SMALLEST_FOR_ARNOLDI = 8


def free_margin(
    system: AbstractSystem,
    drives: PyTree[Float[Array, "batch ..."]],
    states: PyTree[Float[Array, "batch ..."]],
) -> Float[np.ndarray, " batch"]:
    """Computes −max Re λ of ∂_φf at the state of each sample; φ̇ = f(φ) is stable above 0."""

    def dynamics(drive: PyTree, state: PyTree) -> PyTree:
        return system.vector_field(state, drive)

    return _margins(dynamics, drives, states)


def controlled_margin(
    problem: ControlProblem, samples: Sample, points: Point
) -> Float[np.ndarray, " batch"]:
    """Computes −max Re λ of dynamic inversion at the controlled equilibrium of each sample.

        φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu,   αu + ∇_yL(y, t) = 0

    (arXiv 2207.01332, equation 8), with an output controller that is faster than state and control.
    """
    system = problem.system

    def dynamics(
        constants: tuple[Sample, Array], both: tuple[PyTree, PyTree]
    ) -> tuple[PyTree, PyTree]:
        sample, at_rest = constants
        state, control = both

        field, read, pull = system.pullback(state, sample.drive)
        # The output control at rest and its derivative are known, so it needs no solve.
        here = jax.lax.stop_gradient(read)
        output_control = at_rest + problem.loss.response_change(
            here + problem.own_gain * at_rest,
            sample.target,
            problem.own_gain,
            problem.leak_of(sample),
            read - here,
        )
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
    """Computes −log|μ| / Δt of each sample, where μ is the largest eigenvalue of a simulated step.

    The linearised step includes its length, delay, apical lag and filter, in all state variables,
    but no noise. If the margin is below 0, small deviations grow by |μ| in every step. For short
    steps without lag and filter it equals `stability_margin`, in the same unit.

    **Arguments:** as for `leastcontrol.equilibrium.simulate`; `moments`, the points of
    linearisation. Callables that are pytrees (`equinox.Partial`) are not recompiled for other
    arrays.
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
    constants: tuple[Array, PyTree],
    place: tuple[Moment, Memory],
) -> tuple[Moment, Memory]:
    drive, reference = constants
    step = dynamics_step(network, dynamics, error, feedback)
    return step(jnp.asarray(True), drive, reference, *place, ())


def _margins(
    dynamics: Callable[[PyTree, PyTree], PyTree], constants: PyTree, places: PyTree
) -> Float[np.ndarray, " batch"]:
    return -_extremes(dynamics, constants, places, "LR", np.real)


def _extremes(
    dynamics: Callable[[PyTree, PyTree], PyTree],
    constants: PyTree,
    places: PyTree,
    which: str,
    measure: Callable[[np.ndarray], np.ndarray],
) -> Float[np.ndarray, " batch"]:
    """Computes the largest measure of an eigenvalue of the linearised dynamics of each sample.

    **Arguments:** `constants`, first argument of the dynamics; `which`, the name of the measure in
    ARPACK.
    """
    one = lambda tree, index: jax.tree.map(lambda leaf: leaf[index], tree)  # noqa: E731
    spectra = [
        _eigenvalues(dynamics, one(constants, index), one(places, index), which)
        for index in range(jax.tree.leaves(places)[0].shape[0])
    ]
    return np.asarray([measure(spectrum).max() for spectrum in spectra])


@eqx.filter_jit
def _product(
    dynamics: Callable[[PyTree, PyTree], PyTree], constants: PyTree, place: PyTree, direction: Array
) -> Array:
    _, unravel = ravel_pytree(place)
    _, change = jax.jvp(lambda place: dynamics(constants, place), (place,), (unravel(direction),))
    return ravel_pytree(change)[0]


def _eigenvalues(
    dynamics: Callable[[PyTree, PyTree], PyTree], constants: PyTree, place: PyTree, which: str
) -> np.ndarray:
    """Computes all eigenvalues of a small problem, or the outermost of a large one, or NaN."""
    flat, _ = ravel_pytree(place)

    def times(direction: np.ndarray) -> np.ndarray:
        along = jnp.asarray(direction.ravel(), flat.dtype)
        return np.asarray(_product(dynamics, constants, place, along), np.float64)

    if flat.size < SMALLEST_FOR_ARNOLDI:
        matrix = np.stack([times(column) for column in np.eye(flat.size)], axis=1)
        return np.linalg.eigvals(matrix)
    # Imported here because the import is slow and seldom needed.
    import scipy.sparse.linalg

    linear_operator: Any = scipy.sparse.linalg.LinearOperator
    operator = linear_operator((flat.size, flat.size), matvec=times)
    try:
        outermost = scipy.sparse.linalg.eigs(
            operator,
            k=1,
            which=which,
            # A fixed start makes the result reproducible.
            v0=np.ones(flat.size),
            ncv=min(flat.size, 40),
            # The products have the precision of the state.
            tol=float(jnp.finfo(flat.dtype).eps),  # pyright: ignore[reportArgumentType]
            return_eigenvectors=False,
        )
    except scipy.sparse.linalg.ArpackError:
        return np.asarray([np.nan])
    return np.asarray(outermost)
