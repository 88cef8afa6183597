"""The energy of one sample as a landscape over coordinates, with its slope and its curvature.

    F = ½‖ψ‖² + ½‖u‖² + L(y, t)/α

is least at the controlled equilibrium (arXiv 2207.01332, equation 7). The output control answers
to the readout r = h(φ), which leaves a function e(r) of the readout with ∂e/∂r = −u and
∂²e/∂r² = −∂u/∂r. Which coordinates the rest is a function of depends on the system:

* `ErrorLandscape`, for ordered systems: the control ψ, with φ = φ(ψ) by one pass. The gradient is
  ψ − (dh/dψ)ᵀu, and the curvature is the identity plus what the output answers.
* `StateLandscape`, for any f: the state φ, with ψ = −f(φ) read off. No inner solve and no
  contraction is needed.
* `FieldLandscape`: ½‖f‖² alone, least at the free equilibrium.

A product with the curvature, second derivatives of f included, is the derivative of the gradient
along a direction: matrix-free, at the price of a few evaluations of f.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem, AbstractSystem
from ._certificate import Point, Tolerance
from ._free import Controlled
from ._problem import ControlProblem, Sample
from ._rate import Rate, rate_along, rate_of_pullback
from ._sweep import settle_and_read, sweep_residuals
from ._trees import dot, norm, tree_scale, tree_subtract


class View(NamedTuple):
    """What is seen from one place: F, its gradient, v ↦ (∂²F v, ∂u v), and what is there at rest.

    `rounding` is how much of F may be rounding: its own last digits, and those of the output and of
    the state, which F answers to as u and ψ.
    """

    energy: Float[Array, ""]
    rounding: Float[Array, ""]
    gradient: PyTree[Array]
    curvature: Callable[[PyTree[Array]], tuple[PyTree[Array], Float[Array, "..."]]]
    point: Any
    output_control: Float[Array, "..."]
    error: Float[Array, ""]


class AbstractLandscape(eqx.Module):
    """An energy over coordinates z, pytrees of arrays, for one sample."""

    @abc.abstractmethod
    def initial(self, sample: Any) -> Any:
        """Returns the point where a descent starts."""

    @abc.abstractmethod
    def look(self, sample: Any, place: PyTree[Array], guess: Float[Array, "..."]) -> View:
        """Returns what is seen from a place; the output control is sought from a guess."""

    @abc.abstractmethod
    def height(
        self, sample: Any, place: PyTree[Array], guess: Float[Array, "..."]
    ) -> tuple[Float[Array, ""], Float[Array, "..."]]:
        """Returns F alone, and the output control."""

    @abc.abstractmethod
    def start_from(self, point: Any) -> tuple[PyTree[Array], Float[Array, "..."]]:
        """Returns the place of a point, and a guess at the output control there."""


def _rounding(
    energy: Array,
    state: PyTree,
    control: PyTree,
    output: Array,
    output_control: Array,
    rate: Rate = 1.0,
) -> Float[Array, ""]:
    largest = jnp.abs(energy) + rate * norm(control) * norm(state)
    largest = largest + norm(output_control) * (1 + norm(output))
    return 8 * jnp.finfo(energy.dtype).eps * largest


class _AbstractControlledLandscape(AbstractLandscape):
    """What the two landscapes of a control problem share: how the output control answers."""

    problem: eqx.AbstractVar[ControlProblem]
    tolerance: eqx.AbstractVar[Tolerance]

    def initial(self, sample: Sample) -> Point:
        return Point.uncontrolled(self.problem.system, sample.drive)

    @abc.abstractmethod
    def square_and_readout(self, sample: Sample, place: PyTree[Array]) -> tuple[Array, Array]:
        """Returns ‖ψ‖² and h(φ) at a place."""

    def height(self, sample: Sample, place: PyTree[Array], guess: Array) -> tuple[Array, Array]:
        square, read = self.square_and_readout(sample, place)
        output_control = self.answer(sample, read, guess)
        return self.problem.energy(sample, square, read, output_control), output_control

    def answer(self, sample: Sample, read: Array, guess: Array) -> Float[Array, " outputs"]:
        """Returns the output control."""
        return self.problem.answer(sample, read, self.tolerance.rounding, guess)

    def answering(self, sample: Sample, read: Array, guess: Array) -> Float[Array, " outputs"]:
        """Returns the output control, with the derivative of the exact answer."""
        problem = self.problem
        here = jax.lax.stop_gradient(read)
        control = jax.lax.stop_gradient(self.answer(sample, here, guess))
        output = here + problem.own_gain * control
        slope = problem.loss.response_slope(output, sample.target, problem.own_gain, problem.leak)
        return control - jax.lax.stop_gradient(slope) @ (read - here)


class ErrorLandscape(_AbstractControlledLandscape):
    """F over the control ψ of an ordered system."""

    problem: ControlProblem
    system: AbstractOrderedSystem
    tolerance: Tolerance

    def look(self, sample: Sample, place: PyTree[Array], guess: Array) -> View:
        def gradient_of(control: PyTree) -> tuple[tuple, tuple]:
            read, pull, state = settle_and_read(self.system, sample, control)
            output_control = self.answering(sample, read, guess)
            (answer,) = pull(output_control)
            gradient = tree_subtract(control, answer)
            return (gradient, output_control), (read, state, answer)

        (gradient, output_control), curvature, aux = jax.linearize(gradient_of, place, has_aux=True)
        read, state, answer = aux
        point = Point(state, answer, output_control)
        error = sweep_residuals(self.problem, self.tolerance, sample, place, point, read).error
        energy = self.problem.energy(sample, dot(place, place), read, output_control)
        output = read + self.problem.own_gain * output_control
        rounding = _rounding(energy, state, answer, output, output_control)
        return View(energy, rounding, gradient, curvature, point, output_control, error)

    def square_and_readout(self, sample: Sample, place: PyTree[Array]) -> tuple[Array, Array]:
        read = self.system.readout(self.system.settle(sample.drive, place))
        return dot(place, place), read

    def start_from(self, point: Point) -> tuple[PyTree[Array], Array]:
        return point.control, point.output_control


class StateLandscape(_AbstractControlledLandscape):
    """F over the state φ of any system."""

    problem: ControlProblem
    tolerance: Tolerance

    def look(self, sample: Sample, place: PyTree[Array], guess: Array) -> View:
        problem = self.problem

        def gradient_of(state: PyTree) -> tuple[tuple, tuple]:
            field, read, pull = problem.system.pullback(state, sample.drive)
            output_control = self.answering(sample, read, guess)
            gradient = pull(field, -output_control)
            rate = rate_of_pullback(problem.system, pull, field, output_control)
            return (gradient, output_control), (field, read, rate)

        (gradient, output_control), curvature, (field, read, rate) = jax.linearize(
            gradient_of, place, has_aux=True
        )
        control = tree_scale(-1.0, field)
        output = read + problem.own_gain * output_control
        slope = problem.loss.gradient(output, sample.target)
        residuals = self.tolerance.control_error(
            state_residual=jnp.zeros((), read.dtype),
            optimality_residual=norm(gradient),
            leak_residual=norm(problem.leak * output_control + slope),
            state_norm=norm(place),
            control_norm=norm((control, output_control)),
            output_floor=problem.output_floor(sample, output, self.tolerance.rounding),
            leak=problem.leak,
            rate=rate,
        )
        energy = problem.energy(sample, dot(field, field), read, output_control)
        point = Point(place, control, output_control)
        rounding = _rounding(energy, place, control, output, output_control, rate)
        return View(energy, rounding, gradient, curvature, point, output_control, residuals.error)

    def square_and_readout(self, sample: Sample, place: PyTree[Array]) -> tuple[Array, Array]:
        field = self.problem.system.vector_field(place, sample.drive)
        return dot(field, field), self.problem.system.readout(place)

    def start_from(self, point: Point) -> tuple[PyTree[Array], Array]:
        return point.state, point.output_control


class FieldLandscape(AbstractLandscape):
    """½‖f + ψ‖² over the state φ of any system, for a constant control ψ or none."""

    system: AbstractSystem
    tolerance: Tolerance

    def initial(self, sample: Controlled) -> PyTree[Array]:
        return self.system.initial_state(sample.drive)

    def _field(self, sample: Controlled, state: PyTree) -> PyTree:
        field = self.system.vector_field(state, sample.drive)
        if sample.control is None:
            return field
        return jax.tree.map(jnp.add, field, sample.control)

    def look(self, sample: Controlled, place: PyTree[Array], guess: Array) -> View:
        def gradient_of(state: PyTree) -> tuple[tuple, PyTree]:
            field, pull = jax.vjp(lambda state: self._field(sample, state), state)
            return (pull(field)[0], guess), field

        (gradient, _), curvature, field = jax.linearize(gradient_of, place, has_aux=True)
        # As in `FreeProblem`: at the origin the state's size is that of its change.
        rate = 1.0 if self.system.unit_rate else rate_along(field, gradient)
        size = jnp.maximum(rate * norm(place), norm(field))
        error = self.tolerance.free_error(norm(field), size)
        energy = 0.5 * dot(field, field)
        rounding = _rounding(energy, place, field, guess, guess, rate)
        return View(energy, rounding, gradient, curvature, place, guess, error)

    def height(self, sample: Controlled, place: PyTree[Array], guess: Array) -> tuple[Array, Array]:
        field = self._field(sample, place)
        return 0.5 * dot(field, field), guess

    def start_from(self, point: PyTree[Array]) -> tuple[PyTree[Array], Array]:
        return point, jnp.zeros(0, jax.tree.leaves(point)[0].dtype)
