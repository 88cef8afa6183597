"""Sweeps of an ordered system whose activities have kinks.

As in `SweepProblem`, one sweep computes the state forward and the control backward. But sweeps pass
on signals, the backpropagated gradients at the activities, instead of controls. A unit on a kink
takes the share of its signal that keeps it there, and this share depends on the next forward pass
(docs/derivations/rectified-units.md). The map from signals to signals is continuous where units
rest on kinks, so these sweeps converge where sweeps of controls flip units forever.

A continuous map need not contract. Control that keeps a unit on its kink also acts through the
layers before, and if their effect is larger than requested, each sweep overshoots. Units therefore
expect their pre-activations to move with a stiffness, which the system estimates. For a few samples
the estimate is too small and the error stagnates; these continue with a multiple of it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractRectifiedSystem
from ._certificate import Point, Residuals, Sizes, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain, gain_along, share_asked_for
from ._trees import tree_scale, tree_subtract

# With a good estimate a sweep leaves about a tenth of the error. If it leaves more than the share
# `STAYS`, the stiffness is multiplied by `STIFFER`; a larger factor would only slow convergence.
STAYS = 0.3
STIFFER = 4.0


class KinkedSweep(NamedTuple):
    """An iterate: a point, the signals of its control, the estimated gain, the residuals, and the
    factor of the stiffness."""

    point: Point
    signals: PyTree[Float[Array, "..."]]
    gain: Gain
    residuals: Residuals
    stiffer: Float[Array, "*batch"]


class KinkedSweepProblem(AbstractProblem):
    """The controlled equilibrium of a rectified system, by sweeps of signals.

    Each sweep measures the residuals of its point, with the generalised gradient on kinks.
    """

    problem: ControlProblem
    system: AbstractRectifiedSystem
    tolerance: Tolerance
    stiffness: PyTree[Float[Array, "..."]]

    def __init__(
        self, problem: ControlProblem, system: AbstractRectifiedSystem, tolerance: Tolerance
    ):
        self.problem = problem
        self.system = system
        self.tolerance = tolerance
        self.stiffness = system.stiffness()

    def initial(self, sample: Sample) -> KinkedSweep:
        point = Point.first(self.system, sample)
        # There are no signals yet, so there is no control.
        point = point._replace(control=jax.tree.map(jnp.zeros_like, point.control))
        return KinkedSweep(
            point,
            self.system.initial_signals(sample.drive),
            Gain.initial(self.problem, point.output_control),
            Residuals.unknown(point.output_control.dtype),
            jnp.ones((), point.output_control.dtype),
        )

    def iterate(
        self, sample: Sample, z: KinkedSweep
    ) -> tuple[KinkedSweep, KinkedSweep, Float[Array, ""]]:
        last, problem = z.point, self.problem
        settled = self.system.settle_by_signals(sample.drive, z.signals, last.state)
        least = gain_along(problem, last.output_control, z.residuals.control_norm)
        gain = z.gain.updated(problem, settled.read, last.output_control, least)
        output_control = problem.respond(
            sample, settled.read, last.output_control, gain.value, self.tolerance.rounding
        )
        stiffness = tree_scale(z.stiffer, self.stiffness)
        signals, control, missing = settled.answer(output_control, last.control, stiffness)
        point = Point(settled.state, control, output_control)
        changed = tree_subtract(control, settled.control)
        sizes = Sizes.of(changed, missing, point.state, control)
        residuals = residuals_of(
            problem, sample, output_control, self.tolerance, sizes, settled.read
        )
        # False in the first sweep, whose previous error is infinite.
        stays = residuals.error > STAYS * z.residuals.error
        stiffer = jnp.where(stays, jnp.full_like(z.stiffer, STIFFER), z.stiffer)
        measured = KinkedSweep(point, signals, gain, residuals, stiffer)
        first = jnp.isinf(z.residuals.error)
        proposed = self._shortened(sample, settled.read, measured, first)
        return proposed, measured, residuals.error

    def _shortened(self, sample: Sample, read: Array, z: KinkedSweep, first: Array) -> KinkedSweep:
        """Rescales the control of the first sweep to the response at the gain just measured."""
        before = z.point.output_control
        share = share_asked_for(
            self.problem,
            sample,
            read,
            jnp.zeros_like(before),
            before,
            z.residuals.control_norm,
            self.tolerance.rounding,
        )
        share = jnp.where(first, share, 1)
        point = z.point._replace(
            control=tree_scale(share, z.point.control), output_control=share * before
        )
        residuals = z.residuals._replace(control_norm=share * z.residuals.control_norm)
        return z._replace(point=point, signals=tree_scale(share, z.signals), residuals=residuals)

    def mixed(self, z: KinkedSweep) -> tuple[PyTree[Array], ...]:
        return (z.signals,)

    def with_mixed(self, z: KinkedSweep, blocks: tuple[PyTree[Array], ...]) -> KinkedSweep:
        return z._replace(signals=blocks[0])
