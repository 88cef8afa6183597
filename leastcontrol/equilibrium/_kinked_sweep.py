"""Sweeps of an ordered system whose activities have kinks.

The sweep is that of `SweepProblem`, state forward and control backward, but what it carries from
one to the next are the signals that the activities received and not the controls: a unit on a kink
takes of its signal the share that holds it there, which depends on where the next forward pass
finds it (`leastcontrol.systems._kinks`). The map from signals to signals is continuous where units
come to rest on their kinks, so the sweeps converge where those of controls flip units for ever.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractRectifiedSystem
from ._certificate import Point, Tolerance
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain, sweep_residuals

Iterate = tuple[Point, PyTree[Float[Array, "..."]], Gain]


class KinkedSweepProblem(AbstractProblem):
    """The controlled equilibrium of a rectified system, by sweeps of signals.

    An iterate is a `Point`, the signals that were sent back from it, and a gain.
    """

    problem: ControlProblem
    system: AbstractRectifiedSystem
    tolerance: Tolerance

    def initial(self, sample: Sample) -> Iterate:
        point = Point.first(self.system, sample)
        signals = self.system.initial_signals(sample.drive)
        return point, signals, Gain.initial(self.problem, point.output_control)

    def iterate(self, sample: Sample, z: Iterate) -> tuple[Iterate, Iterate, Float[Array, ""]]:
        last, signals, gain = z

        def read_of(signals: PyTree, nudge: PyTree) -> tuple[Array, tuple[PyTree, PyTree]]:
            state, control, read = self.system.settle_by_signals(
                sample.drive, signals, last.state, nudge
            )
            return read, (state, control)

        nudge = jax.tree.map(jnp.zeros_like, last.state)
        read, pull, (state, control) = jax.vjp(read_of, signals, nudge, has_aux=True)
        gain = gain.updated(self.problem, read, last.output_control, self.problem.own_gain)
        output_control = self.problem.respond(
            sample, read, last.output_control, gain.value, self.tolerance.rounding
        )
        signals, asked = pull(output_control)
        residuals = sweep_residuals(
            self.problem,
            self.tolerance,
            sample,
            control,
            Point(state, asked, output_control),
            read,
        )
        # The control that holds the state, which solves f + ψ = 0 exactly.
        proposed = Point(state, control, output_control), signals, gain
        return proposed, proposed, residuals.error

    def mixed(self, z: Iterate) -> tuple[PyTree[Array], ...]:
        return (z[1],)

    def with_mixed(self, z: Iterate, blocks: tuple[PyTree[Array], ...]) -> Iterate:
        return z[0], blocks[0], z[2]
