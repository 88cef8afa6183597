"""Dynamic inversion of any system: state and control iterated together.

One evaluation of f and h with their pullback at φ gives everything: the residuals of the state and
of the control are the changes of the two, measured at the very point that is returned; the output
control is eliminated by the loss's response, with a gain estimated as in an ordered sweep.

The control begins a few free steps after the state. Away from its rest point the state teaches the
control nothing, and a free step costs half of a joint one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._certificate import UNKNOWN, Point, Residuals, Tolerance, rate_between, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain
from ._trees import norm, tree_add, tree_subtract

# Networks trained to be solvable come within a percent of their rest point in as many.
FREE_STEPS = 5


class Joint(NamedTuple):
    """An iterate: a point, the gain that was seen, and the residuals at the point."""

    point: Point
    gain: Gain
    residuals: Residuals
    # The state before with f there, if the rate of f is measured.
    before: tuple[PyTree[Array], PyTree[Array]] | None


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
        before = (point.state, jax.tree.map(jnp.zeros_like, point.state))
        unknown = Residuals.unknown(point.output_control.dtype)
        return Joint(point, gain, unknown, None if system.unit_rate else before)

    def iterate(self, sample: Sample, z: Joint) -> tuple[Joint, Joint, Float[Array, ""]]:
        (state, control, last), gain, _, before = z
        problem = self.problem
        field, read, pull = problem.system.pullback(state, sample.drive)
        gain = gain.updated(problem, read, last, problem.own_gain)
        # One Newton step: the loop has many steps, and the answer is refined by each of them.
        output_control = problem.respond(
            sample, read, last, gain.value, self.tolerance.rounding, iterations=1
        )
        control_change = pull(control, output_control)
        state_change = tree_add(field, control)
        measured = Point(state, control, output_control)
        rate, known = 1.0, True
        if before is not None:
            step = norm(tree_subtract(state, before[0]))
            known = step > 0
            rate = rate_between(norm(tree_subtract(field, before[1])), step)
            rate = jnp.where(known, rate, 1)
            before = (state, field)
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
        least = jnp.where(known | (residuals.error == 0), 0, UNKNOWN)
        residuals = residuals._replace(error=jnp.maximum(residuals.error, least))
        proposed = Point(
            tree_add(state, state_change), tree_add(control, control_change), output_control
        )
        onwards = Joint(proposed, gain, residuals, before)
        return onwards, onwards._replace(point=measured), residuals.error

    def mixed(self, z: Joint) -> tuple[PyTree[Array], ...]:
        return (z.point.state, z.point.control)

    def with_mixed(self, z: Joint, blocks: tuple[PyTree[Array], ...]) -> Joint:
        state, control = blocks
        return z._replace(point=z.point._replace(state=state, control=control))
