"""Dynamic inversion of any system: state and control iterated together.

One evaluation of f and h with their pullback at φ gives everything: the residuals of the state and
of the control are the changes of the two, measured at the very point that is returned; the output
control is eliminated by the loss's response, with a gain estimated as in an ordered sweep.

The control begins a few free steps after the state. Away from its rest point the state teaches the
control nothing, and a free step costs half of a joint one.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, PyTree

from ._certificate import Point, Residuals, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._rate import Last, while_known
from ._sweep import Gain
from ._trees import tree_add

# Networks trained to be solvable come within a percent of their rest point in as many.
FREE_STEPS = 5


class Joint(NamedTuple):
    """An iterate: a point, the gain that was seen, and the residuals at the point."""

    point: Point
    gain: Gain
    residuals: Residuals
    # If the rate of f is measured.
    last: Last | None


class JointProblem(AbstractProblem):
    """The controlled equilibrium of any system, by dynamic inversion with a unit step.

        φ ← φ + f(φ) + ψ,   ψ ← ψ + ∂_φfᵀψ + ∂_φhᵀu

    (arXiv 2207.01332, equation 8). What certifies a point is known with the point, and is not
    evaluated again.
    """

    problem: ControlProblem
    tolerance: Tolerance

    def initial(self, sample: Sample) -> Joint:
        system = self.problem.system
        point = Point.first(system, sample)
        if sample.start is None:

            def free(_, state: PyTree[Array]) -> PyTree[Array]:
                return tree_add(state, system.vector_field(state, sample.drive))

            point = point._replace(state=jax.lax.fori_loop(0, FREE_STEPS, free, point.state))
        gain = Gain.initial(self.problem, point.output_control)
        unknown = Residuals.unknown(point.output_control.dtype)
        return Joint(point, gain, unknown, Last.first(system, point.state))

    def iterate(self, sample: Sample, z: Joint) -> tuple[Joint, Joint, Float[Array, ""]]:
        (state, control, guess), gain, _, last = z
        problem = self.problem
        field, read, pull = problem.system.pullback(state, sample.drive)
        gain = gain.updated(problem, read, guess, problem.own_gain)
        # One Newton step: the loop has many steps, and the answer is refined by each of them.
        output_control = problem.respond(
            sample, read, guess, gain.value, self.tolerance.rounding, iterations=1
        )
        control_change = pull(control, output_control)
        state_change = tree_add(field, control)
        measured = Point(state, control, output_control)
        rate, known = 1.0, None
        if last is not None:
            (rate, known), last = last.rate(state, field), Last(state, field)
        residuals = residuals_of(
            problem,
            sample,
            measured,
            self.tolerance,
            state_change,
            control_change,
            read,
            own_control=True,
            rate=rate,
        )
        if known is not None:
            residuals = residuals._replace(error=while_known(residuals.error, known))
        proposed = Point(
            tree_add(state, state_change), tree_add(control, control_change), output_control
        )
        onwards = Joint(proposed, gain, residuals, last)
        return onwards, onwards._replace(point=measured), residuals.error

    def mixed(self, z: Joint) -> tuple[PyTree[Array], ...]:
        return (z.point.state, z.point.control)

    def with_mixed(self, z: Joint, blocks: tuple[PyTree[Array], ...]) -> Joint:
        state, control = blocks
        return z._replace(point=z.point._replace(state=state, control=control))
