"""Trajectories of one sample to its equilibrium, with and without control, in continuous time.

Rules solve for the equilibrium and do not simulate the path to it. These functions integrate the
path with Diffrax, for inspection.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..equilibrium import ControlProblem, Point, Sample
from ..systems import AbstractSystem


class Trajectory(NamedTuple):
    """The states of one sample over time, in time constants of the neurons.

    * `times`: times of the states; the first is the start.
    * `points`: φ, ψ and u at those times; zero control for a free trajectory.
    * `outputs`: y = h(φ) + u with output neurons, and y = h(φ) without.
    * `finished`: whether the integration reached the last time within `MAX_STEPS` steps. If not,
      the values after the last step are infinite.
    """

    times: Float[Array, " times"]
    points: Point
    outputs: Float[Array, "times outputs"]
    finished: Bool[Array, ""]


MAX_STEPS = 16384


def free_trajectory(
    system: AbstractSystem,
    drive: PyTree[Any],
    times: Float[Array, " times"],
    start: PyTree[Array] = None,
) -> Trajectory:
    """Integrates φ̇ = f(φ) for one sample.

    **Arguments:** `system`; `drive` of the sample; `times`, increasing, beginning with the start
    time; `start`, the first state, by default the initial state of the system.
    """
    start = system.initial_state(drive) if start is None else start
    states, finished = _integrated(lambda state: system.vector_field(state, drive), start, times)
    outputs = jax.vmap(system.readout)(states)
    points = Point(states, jax.tree.map(jnp.zeros_like, states), jnp.zeros_like(outputs))
    return Trajectory(times, points, outputs, finished)


def controlled_trajectory(
    problem: ControlProblem,
    sample: Sample,
    times: Float[Array, " times"],
    missing: Callable[[Sample, Point], PyTree[Array]] | None = None,
    start: PyTree[Array] = None,
) -> Trajectory:
    """Integrates dynamic inversion for one sample, starting without control.

        φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu,   u̇ = −αu − ∇_yL

    (arXiv 2207.01332, equations 5 and 8, with a leaky integral controller and equal time
    constants). If the trajectory comes to rest, its control is the least control.

    **Arguments:**

    * `problem`: system, loss and leak.
    * `sample`: drive and target of the sample.
    * `times`: increasing, beginning with the start time.
    * `missing`: computes the residual of ψ that replaces ∂_φfᵀψ + ∂_φhᵀu, as for `certify`.
    * `start`: the first state, by default the initial state of the system.
    """
    system = problem.system

    def field(point: Point) -> Point:
        free, read, pull = system.pullback(point.state, sample.drive)
        if missing is None:
            change = pull(point.control, point.output_control)
        else:
            change = missing(sample, point)
        output = read + problem.own_gain * point.output_control
        slope = problem.loss.gradient(output, sample.target)
        return Point(
            jax.tree.map(jnp.add, free, point.control),
            change,
            -problem.leak_of(sample) * point.output_control - slope,
        )

    first = Point.uncontrolled(system, sample.drive)
    if start is not None:
        first = first._replace(state=start)
    points, finished = _integrated(field, first, times)
    outputs = jax.vmap(system.readout)(points.state) + problem.own_gain * points.output_control
    return Trajectory(times, points, outputs, finished)


def _integrated(
    field: Callable[[Any], Any], start: Any, times: Float[Array, " times"]
) -> tuple[Any, Bool[Array, ""]]:
    # Imported here because the import is slow and seldom needed.
    import diffrax

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, z, arguments: field(z)),
        diffrax.Tsit5(),
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6),
        max_steps=MAX_STEPS,
        throw=False,
    )
    return solution.ys, solution.result == diffrax.RESULTS.successful
