"""Dynamic inversion of an ordered system, by sweeps.

In an ordered system the state under a control ψ is an explicit function φ(ψ), and the control for
an output control u is the pullback of u through it,

    ψ = (dh/dψ)ᵀ u = −(∂_φf)⁻ᵀ ∂_φhᵀ u.

So one sweep computes the state forward and the control backward, visiting each node once
(Gauss–Seidel order), and only u is iterated. The response αu′ + ∇L(y + κ(u′ − u)) = 0 uses a gain κ
of the output, because the current output alone would overshoot under strong control. The gain is a
secant estimate for each sample, or the gain along u if that is larger. docs/derivations/gains.md
derives both.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem
from ._certificate import Point, Residuals, Sizes, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._trees import dot, norm, tree_scale, tree_subtract

# Steps with a larger gain would be too small to measure.
LARGEST_GAIN = 1e4


class Gain(eqx.Module):
    """A secant estimate κ of the gain dy/du of one sample, with the last readout and control."""

    value: Float[Array, "*batch"]
    read: Float[Array, "*batch outputs"]
    output_control: Float[Array, "*batch outputs"]

    @staticmethod
    def initial(problem: ControlProblem, output_control: Float[Array, " outputs"]) -> "Gain":
        """Makes the initial estimate, the direct gain of the output neurons."""
        value = jnp.asarray(problem.own_gain, output_control.dtype)
        return Gain(value, jnp.full_like(output_control, jnp.nan), output_control)

    def updated(
        self,
        problem: ControlProblem,
        read: Float[Array, " outputs"],
        output_control: Float[Array, " outputs"],
        least: float | Float[Array, ""],
    ) -> "Gain":
        """Updates the gain from the last readout to this h(φ) under u, bounded by `least`."""
        change = output_control - self.output_control
        square = jnp.sum(change**2)
        gain = problem.own_gain + jnp.sum(change * (read - self.read)) / square
        # The difference of nearly equal controls is dominated by rounding.
        resolution = jnp.finfo(change.dtype).eps ** 0.5
        usable = (square > (resolution * norm(output_control)) ** 2) & jnp.isfinite(gain)
        value = jnp.where(usable, jnp.clip(gain, least, LARGEST_GAIN), self.value)
        return Gain(value, read, output_control)


class Sweep(NamedTuple):
    """An iterate: a point, the estimated gain, and the residuals at the point."""

    point: Point
    gain: Gain
    residuals: Residuals


class SweepProblem(AbstractProblem):
    """The controlled equilibrium of an ordered system, by sweeps.

    One sweep returns (φ(ψ), ψ′, u′). There the optimality condition holds exactly, the state
    residual is ψ′ − ψ, and the leak residual is measured, so that each sweep certifies its point.
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
        swept = Sweep(proposed, gain, residuals)
        return swept, swept, residuals.error

    def mixed(self, z: Sweep) -> tuple[PyTree[Array], ...]:
        return (z.point.control,)

    def with_mixed(self, z: Sweep, blocks: tuple[PyTree[Array], ...]) -> Sweep:
        return z._replace(point=z.point._replace(control=blocks[0]))


def gain_along(
    problem: ControlProblem,
    output_control: Float[Array, " outputs"],
    control_norm: Float[Array, ""],
) -> Float[Array, ""]:
    """Computes the gain along u from the norm ‖(ψ, u)‖ of its sweep."""
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
    """Computes the factor that rescales the controls of a sweep to the response at their gain.

    **Arguments:**

    * `read`, `guess`: the readout of the sweep, and the output control that preceded it.
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
    """Computes h(φ(ψ)), its pullback to ψ, and the state φ(ψ)."""

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
    """Computes the residuals of a point whose state was settled under an earlier control.

    The control of the point is the pullback of its output control, so optimality holds exactly.
    """
    changed = tree_subtract(point.control, settled_control)
    sizes = Sizes.of(changed, jnp.zeros((), read.dtype), point.state, point.control)
    return residuals_of(problem, sample, point.output_control, tolerance, sizes, read)
