"""Sweeps of an ordered system whose activities have kinks.

The sweep is that of `SweepProblem`, state forward and control backward, but what it carries from
one to the next are the signals that the activities received and not the controls: a unit on a kink
takes of its signal the share that holds it there, which depends on where the next forward pass
finds it (`leastcontrol.systems._kinks`). The map from signals to signals is continuous where units
come to rest on their kinks, so the sweeps converge where those of controls flip units for ever.

Continuous is not yet contracting. What holds a unit on its kink calls on the layers before, and
where they can do more than is asked, each answer overshoots the last. So units expect their targets
to answer by a stiffness, which the system estimates. For a few samples it is an underestimate, and
their errors soon stay where they are: these go on with a multiple of it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractRectifiedSystem
from ._certificate import Point, Residuals, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain, gain_along, share_asked_for
from ._trees import tree_scale, tree_subtract

# A sweep leaves about a tenth of the error where the estimate holds. Where more than this share is
# left the sample goes on with so many times the stiffness: with more, sweeps would only be slow.
STAYS = 0.3
STIFFER = 4.0


class KinkedSweep(NamedTuple):
    """An iterate: a point with its residuals, the signals that ask for its control, the gain that
    was seen, and by how much the stiffness is multiplied."""

    point: Point
    signals: PyTree[Float[Array, "..."]]
    gain: Gain
    residuals: Residuals
    stiffer: Float[Array, "*batch"]


class KinkedSweepProblem(AbstractProblem):
    """The controlled equilibrium of a rectified system, by sweeps of signals.

    What certifies a point, with the generalised gradient on its kinks, is known with the point, and
    is not evaluated again.
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
        # No signal asks for a control yet.
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
        residuals = residuals_of(
            problem,
            sample,
            point,
            self.tolerance,
            tree_subtract(control, settled.control),
            missing,
            settled.read,
        )
        # Of the first sweep's error, the one before is infinite.
        stays = residuals.error > STAYS * z.residuals.error
        stiffer = jnp.where(stays, jnp.full_like(z.stiffer, STIFFER), z.stiffer)
        measured = KinkedSweep(point, signals, gain, residuals, stiffer)
        first = jnp.isinf(z.residuals.error)
        proposed = self._shortened(sample, settled.read, measured, first)
        return proposed, measured, residuals.error

    def _shortened(self, sample: Sample, read: Array, z: KinkedSweep, first: Array) -> KinkedSweep:
        """Returns the first sweep's control as short as the gain asks that it has just measured."""
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
