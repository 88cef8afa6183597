"""Dynamic inversion of any system by a joint iteration of state and control.

One evaluation of f, h and their pullback at φ gives the changes of state and control. These are
also the residuals at the returned point, so nothing is evaluated twice. The output control is the
response of the loss, with a gain estimated as in an ordered sweep.

The state takes a few free steps before the control starts. Far from equilibrium the state gives no
useful control, and a free step costs half of a joint one.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem
from ._certificate import Point, Residuals, Sizes, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._rate import AbstractLast, first_record, while_known
from ._sweep import Gain
from ._trees import norms, tree_add

# Trained networks come within a percent of their rest point in this many steps.
FREE_STEPS = 5


class Joint(NamedTuple):
    """An iterate: a point, the estimated gain, and the residuals at the point."""

    point: Point
    gain: Gain
    residuals: Residuals
    # `None` unless the rate of f is measured.
    last: AbstractLast | None


def free_start(system: AbstractSystem, sample: Sample) -> Point:
    """Returns the start that the sample gives, or the state after a few free steps."""
    point = Point.first(system, sample)
    if sample.start is not None:
        return point

    def free(_, state: PyTree[Array]) -> PyTree[Array]:
        return tree_add(state, system.vector_field(state, sample.drive))

    return point._replace(state=jax.lax.fori_loop(0, FREE_STEPS, free, point.state))


class JointProblem(AbstractProblem):
    """The controlled equilibrium of any system, by dynamic inversion with a unit step.

        φ ← φ + f(φ) + ψ,   ψ ← ψ + ∂_φfᵀψ + ∂_φhᵀu

    (arXiv 2207.01332, equation 8). Each iteration also measures the residuals of its point.

    **Arguments:**

    * `problem`, `tolerance`: what is solved, and the tolerance of the residuals.
    * `plain`: whether no iterates are mixed, so that the last step is known from its residual.
    """

    problem: ControlProblem
    tolerance: Tolerance
    plain: bool = eqx.field(static=True, default=False)

    def initial(self, sample: Sample) -> Joint:
        system = self.problem.system
        point = free_start(system, sample)
        gain = Gain.initial(self.problem, point.output_control)
        unknown = Residuals.unknown(point.output_control.dtype)
        return Joint(point, gain, unknown, first_record(system, point.state, plain=self.plain))

    def iterate(self, sample: Sample, z: Joint) -> tuple[Joint, Joint, Float[Array, ""]]:
        (state, control, guess), gain, _, last = z
        problem = self.problem
        field, read, pull = problem.system.pullback(state, sample.drive)
        gain = gain.updated(problem, read, guess, problem.own_gain)
        # One Newton step suffices, because every step of the loop refines the response.
        output_control = problem.respond(
            sample, read, guess, gain.value, self.tolerance.rounding, iterations=1
        )
        control_change = pull(control, output_control)
        state_change = tree_add(field, control)
        changes = (state_change, control_change, state, control)
        if last is None:
            sizes, rate, known = Sizes(*norms(*changes)), 1.0, None
        else:
            along, known = last.along(state, field)
            *of_changes, rate = norms(*changes, along)
            sizes, rate = Sizes(*of_changes), jnp.where(known, rate, 1)
            last = last.after(state, field, sizes.state_residual)
        residuals = residuals_of(
            problem, sample, output_control, self.tolerance, sizes, read, True, rate
        )
        if known is not None:
            residuals = residuals._replace(error=while_known(residuals.error, known))
        measured = Point(state, control, output_control)
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
