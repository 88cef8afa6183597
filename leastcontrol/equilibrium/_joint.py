"""Dynamic inversion of any system: state and control iterated together.

One evaluation of f and h with their pullback at φ gives everything: the residuals of the state and
of the control are the changes of the two, measured at the very point that is returned; the output
control is eliminated by the loss's response, with a gain estimated as in an ordered sweep.
"""

from jaxtyping import Array, Float, PyTree

from ._certificate import Point, Tolerance
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain
from ._trees import norm, tree_add


class JointProblem(AbstractProblem):
    """The controlled equilibrium of any system, by dynamic inversion with a unit step.

        φ ← φ + f(φ) + ψ,   ψ ← ψ + ∂_φfᵀψ + ∂_φhᵀu

    (arXiv 2207.01332, equation 8). An iterate is a `Point` with a gain.
    """

    problem: ControlProblem
    tolerance: Tolerance

    def initial(self, sample: Sample) -> tuple[Point, Gain]:
        point = Point.uncontrolled(self.problem.system, sample.drive)
        return point, Gain.initial(self.problem, point.output_control)

    def iterate(
        self, sample: Sample, z: tuple[Point, Gain]
    ) -> tuple[tuple[Point, Gain], tuple[Point, Gain], Float[Array, ""]]:
        (state, control, last), gain = z
        problem = self.problem
        field, read, pull = problem.system.pullback(state, sample.drive)
        gain = gain.updated(problem, read, last)
        output_control = problem.respond(sample, read, last, gain.value, self.tolerance.rounding)
        control_change = pull(control, output_control)
        state_change = tree_add(field, control)
        output = read + problem.own_gain * output_control
        slope = problem.loss.gradient(output, sample.target)
        residuals = self.tolerance.control_error(
            state_residual=norm(state_change),
            optimality_residual=norm(control_change),
            leak_residual=norm(problem.leak * output_control + slope),
            state_norm=norm(state),
            control_norm=norm((control, output_control)),
            output_floor=problem.output_floor(sample, output, self.tolerance.rounding),
            leak=problem.leak,
        )
        proposed = Point(
            tree_add(state, state_change), tree_add(control, control_change), output_control
        )
        return (proposed, gain), (Point(state, control, output_control), gain), residuals.error

    def mixed(self, z: tuple[Point, Gain]) -> tuple[PyTree[Array], ...]:
        return (z[0].state, z[0].control)

    def with_mixed(
        self, z: tuple[Point, Gain], blocks: tuple[PyTree[Array], ...]
    ) -> tuple[Point, Gain]:
        state, control = blocks
        return z[0]._replace(state=state, control=control), z[1]
