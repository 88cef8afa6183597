"""Dynamic inversion in the order of the system.

For an ordered system the state that a control ψ settles to is an explicit function φ(ψ), and the
control that an output control u asks for is the pullback of u through it,

    ψ = (dh/dψ)ᵀ u = −(∂_φf)⁻ᵀ ∂_φhᵀ u :

state forward, control backward, each node once (Gauss and Seidel's order). What is left is the
output control. Taking u from the current output alone overshoots where the network answers
strongly to its own control, so the response is solved with the gain κ of the output, estimated for
each sample from its last two sweeps: αu′ + ∇L(y + κ(u′ − u)) = 0. At a fixed point κ drops out.
The gain along u itself is known within a sweep, uᵀ(dh/dψ)(dh/dψ)ᵀu = ‖ψ‖²: the response is asked
for once more with that gain, and both controls are scaled to its length. The larger of that gain
and the secant is what the next sweep begins with, for it is the safer.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem
from ._certificate import Point, Residuals, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._trees import dot, norm, tree_scale, tree_subtract

# A larger gain would only take smaller steps than rounding can measure.
LARGEST_GAIN = 1e4


class Gain(eqx.Module):
    """A secant estimate κ of the gain dy/du of a sample's output, with the readout it had."""

    value: Float[Array, "*batch"]
    read: Float[Array, "*batch outputs"]
    output_control: Float[Array, "*batch outputs"]

    @staticmethod
    def initial(problem: ControlProblem, output_control: Float[Array, " outputs"]) -> "Gain":
        """Returns the gain that output neurons have by themselves."""
        value = jnp.asarray(problem.own_gain, output_control.dtype)
        return Gain(value, jnp.full_like(output_control, jnp.nan), output_control)

    def updated(
        self,
        problem: ControlProblem,
        read: Float[Array, " outputs"],
        output_control: Float[Array, " outputs"],
        least: float | Float[Array, ""],
    ) -> "Gain":
        """Returns the gain seen between the last and this readout h(φ) under u, or `least`."""
        change = output_control - self.output_control
        square = jnp.sum(change**2)
        gain = problem.own_gain + jnp.sum(change * (read - self.read)) / square
        # Differences of nearly equal controls say nothing about the gain.
        resolution = jnp.finfo(change.dtype).eps ** 0.5
        usable = (square > (resolution * norm(output_control)) ** 2) & jnp.isfinite(gain)
        value = jnp.where(usable, jnp.clip(gain, least, LARGEST_GAIN), self.value)
        return Gain(value, read, output_control)


class Sweep(NamedTuple):
    """An iterate: a point, the gain that was seen, and the residuals at the point."""

    point: Point
    gain: Gain
    residuals: Residuals


class SweepProblem(AbstractProblem):
    """The controlled equilibrium of an ordered system, by sweeps.

    One sweep returns (φ(ψ), ψ′, u′), where the optimality condition holds exactly, the state's
    residual is ψ′ − ψ and the leak's is measured: what certifies a point is known with the point,
    and is not evaluated again.
    """

    problem: ControlProblem
    system: AbstractOrderedSystem
    tolerance: Tolerance

    def initial(self, sample: Sample) -> Sweep:
        point = Point.first(self.system, sample)
        gain = Gain.initial(self.problem, point.output_control)
        return Sweep(point, gain, Residuals.unknown(point.output_control.dtype))

    def iterate(self, sample: Sample, z: Sweep) -> tuple[Sweep, Sweep, Float[Array, ""]]:
        point, gain, _ = z
        read, pull, state = settle_and_read(self.system, sample, point.control)
        least = gain_along(self.problem, point.output_control, z.residuals.control_norm)
        gain = gain.updated(self.problem, read, point.output_control, least)
        output_control = self.problem.respond(
            sample, read, point.output_control, gain.value, self.tolerance.rounding
        )
        (control,) = pull(output_control)
        share = share_asked_for(
            self.problem,
            sample,
            read,
            point.output_control,
            output_control,
            norm((control, output_control)),
            self.tolerance.rounding,
        )
        proposed = Point(state, tree_scale(share, control), share * output_control)
        residuals = sweep_residuals(
            self.problem, self.tolerance, sample, point.control, proposed, read
        )
        own = Sweep(proposed, gain, residuals)
        return own, own, residuals.error

    def mixed(self, z: Sweep) -> tuple[PyTree[Array], ...]:
        return (z.point.control,)

    def with_mixed(self, z: Sweep, blocks: tuple[PyTree[Array], ...]) -> Sweep:
        return z._replace(point=z.point._replace(control=blocks[0]))


def gain_along(
    problem: ControlProblem,
    output_control: Float[Array, " outputs"],
    control_norm: Float[Array, ""],
) -> Float[Array, ""]:
    """Returns the gain along u, whose sweep had a control of size ‖(ψ, u)‖."""
    square = dot(output_control, output_control)
    known = (square > 0) & jnp.isfinite(control_norm)
    share = control_norm**2 / jnp.where(square > 0, square, 1)
    return problem.own_gain + jnp.where(known, share - 1, 0)


def share_asked_for(
    problem: ControlProblem,
    sample: Sample,
    read: Float[Array, " outputs"],
    guess: Float[Array, " outputs"],
    output_control: Float[Array, " outputs"],
    control_norm: Float[Array, ""],
    rounding: float,
) -> Float[Array, ""]:
    """Returns how much of a sweep's controls the loss asks for at the gain seen along them.

    **Arguments:**

    * `read`, `guess`: the readout of the sweep, and the output control that it was settled under.
    * `output_control`, `control_norm`: u, and ‖(ψ, u)‖ for its pullback ψ.
    """
    gain = jnp.minimum(gain_along(problem, output_control, control_norm), LARGEST_GAIN)
    answer = problem.respond(sample, read, guess, gain, rounding)
    square = dot(output_control, output_control)
    share = dot(output_control, answer) / jnp.where(square > 0, square, 1)
    return jnp.where(square > 0, share, 1)


def settle_and_read(
    system: AbstractOrderedSystem, sample: Sample, control: PyTree[Array]
) -> tuple[Float[Array, " outputs"], Callable, PyTree[Array]]:
    """Returns h(φ(ψ)), its pullback to ψ, and the state φ(ψ)."""

    def read(control: PyTree[Array]) -> tuple[Array, PyTree[Array]]:
        state = system.settle(sample.drive, control)
        return system.readout(state), state

    return jax.vjp(read, control, has_aux=True)


def sweep_residuals(
    problem: ControlProblem,
    tolerance: Tolerance,
    sample: Sample,
    settled_control: PyTree[Array],
    point: Point,
    read: Float[Array, " outputs"],
) -> Residuals:
    """Returns the residuals of a point whose state was settled under an earlier control.

    Its control is the pullback of its output control, so that the optimality condition holds.
    """
    changed = tree_subtract(point.control, settled_control)
    return residuals_of(problem, sample, point, tolerance, changed, jnp.zeros((), read.dtype), read)
