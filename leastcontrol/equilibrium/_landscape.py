"""The energy of one sample as a function of coordinates, with its gradient and curvature.

    F = ½‖ψ‖² + ½‖u‖² + L(y, t)/α

is minimal at the controlled equilibrium (arXiv 2207.01332, equation 7). The output control is the
response to the readout r = h(φ). Eliminating it leaves a function e(r) with ∂e/∂r = −u and
∂²e/∂r² = −∂u/∂r. The coordinates of F depend on the system:

* `ErrorLandscape`, for ordered systems, uses the control ψ, with φ = φ(ψ) by one pass. The gradient
  is ψ − (dh/dψ)ᵀu, and the curvature is the identity plus the curvature of the output term.
* `StateLandscape`, for any f, uses the state φ, with ψ = −f(φ). It needs no inner solve and no
  contraction.
* `FieldLandscape` is ½‖f‖², which is minimal at the free equilibrium.

Curvature products, including second derivatives of f, are directional derivatives of the gradient.
They are matrix-free and cost a few evaluations of f.
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
    """F at one place, with its gradient, the product v ↦ (∂²F v, ∂u v), the point and its error.

    `rounding` bounds the rounding error of F: that of F itself, and those of output and state,
    multiplied by the derivatives u and ψ of F.
    """

    energy: Float[Array, ""]
    rounding: Float[Array, ""]
    gradient: PyTree[Array]
    curvature: Callable[[PyTree[Array]], tuple[PyTree[Array], Float[Array, "..."]]]
    point: Any
    output_control: Float[Array, "..."]
    error: Float[Array, ""]


class AbstractLandscape(eqx.Module):
    """The energy of one sample as a function of coordinates z, a pytree of arrays."""

    @abc.abstractmethod
    def initial(self, sample: Any) -> Any:
        """Makes the point where a descent starts."""

    @abc.abstractmethod
    def look(self, sample: Any, place: PyTree[Array], guess: Float[Array, "..."]) -> View:
        """Evaluates the landscape at a place, solving for the output control from a guess."""

    @abc.abstractmethod
    def height(
        self, sample: Any, place: PyTree[Array], guess: Float[Array, "..."]
    ) -> tuple[Float[Array, ""], Float[Array, "..."]]:
        """Computes F and the output control, without derivatives."""

    @abc.abstractmethod
    def start_from(self, point: Any) -> tuple[PyTree[Array], Float[Array, "..."]]:
        """Converts a point into its place and a guess of the output control."""


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
    """The common part of the two landscapes of a control problem: the output control."""

    problem: eqx.AbstractVar[ControlProblem]
    tolerance: eqx.AbstractVar[Tolerance]

    def initial(self, sample: Sample) -> Point:
        return Point.uncontrolled(self.problem.system, sample.drive)

    @abc.abstractmethod
    def square_and_readout(self, sample: Sample, place: PyTree[Array]) -> tuple[Array, Array]:
        """Computes ‖ψ‖² and h(φ) at a place."""

    def height(self, sample: Sample, place: PyTree[Array], guess: Array) -> tuple[Array, Array]:
        square, read = self.square_and_readout(sample, place)
        output_control = self.answer(sample, read, guess)
        return self.problem.energy(sample, square, read, output_control), output_control

    def answer(self, sample: Sample, read: Array, guess: Array) -> Float[Array, " outputs"]:
        """Computes the output control."""
        return self.problem.answer(sample, read, self.tolerance.rounding, guess)

    def answering(self, sample: Sample, read: Array, guess: Array) -> Float[Array, " outputs"]:
        """Computes the output control, with the derivative of the exact response."""
        problem = self.problem
        here = jax.lax.stop_gradient(read)
        control = jax.lax.stop_gradient(self.answer(sample, here, guess))
        output = here + problem.own_gain * control
        leak = jax.lax.stop_gradient(jnp.asarray(problem.leak_of(sample), read.dtype))
        return control + problem.loss.response_change(
            output, sample.target, problem.own_gain, leak, read - here
        )


class ErrorLandscape(_AbstractControlledLandscape):
    """F as a function of the control ψ of an ordered system."""

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
    """F as a function of the state φ of any system."""

    problem: ControlProblem
    tolerance: Tolerance

    def look(self, sample: Sample, place: PyTree[Array], guess: Array) -> View:
        problem = self.problem

        def gradient_of(state: PyTree) -> tuple[tuple, tuple]:
            field, read, pull = problem.system.pullback(state, sample.drive)
            output_control = self.answering(sample, read, guess)
            gradient = pull(field, -output_control)
            # At a free equilibrium f is zero, and the gradient is what the state follows.
            rate = rate_of_pullback(problem.system, pull, (field, gradient), output_control)
            return (gradient, output_control), (field, read, rate)

        (gradient, output_control), curvature, (field, read, rate) = jax.linearize(
            gradient_of, place, has_aux=True
        )
        control = tree_scale(-1.0, field)
        output = read + problem.own_gain * output_control
        slope = problem.loss.gradient(output, sample.target)
        leak = problem.leak_of(sample)
        residuals = self.tolerance.control_error(
            state_residual=jnp.zeros((), read.dtype),
            optimality_residual=norm(gradient),
            leak_residual=norm(leak * output_control + slope),
            state_norm=norm(place),
            control_norm=norm((control, output_control)),
            output_floor=problem.output_floor(sample, output, self.tolerance.rounding),
            leak=leak,
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
    """½‖f + ψ‖² as a function of the state φ, for a constant control ψ or none."""

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
        # As in `FreeProblem`: the floor scales with the state, and at the origin with the change.
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
