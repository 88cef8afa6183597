"""Controlled equilibria whose control has a separate feedback path.

The least control is the pullback of the output control through the system itself,
∂_φfᵀψ + ∂_φhᵀu = 0. A separate path replaces this condition by another and leaves the conditions of
the state and the output control unchanged. `AbstractControlPath` is that condition for one sample:

* `MirrorPath`: the pullback through a second system, with different weights;
* `LinearPath`: ψ = Qu.

`ControlPathProblem` is the iteration for any path. Its fixed points do not minimise an energy, so
no energy can safeguard it.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem, AbstractSystem
from ._certificate import Point, Tolerance
from ._driver import AbstractProblem
from ._problem import ControlProblem, Sample
from ._sweep import Gain, settle_and_read
from ._trees import norm, tree_add, tree_scale, tree_subtract


class AbstractControlPath(eqx.Module):
    """A path that turns an output control into a control on the state."""

    @abc.abstractmethod
    def missing(self, sample: Sample, point: Point) -> PyTree[Array]:
        """Computes the residual of ψ at a point, a pytree like the state, zero at rest."""

    @abc.abstractmethod
    def carry(self, sample: Sample, point: Point) -> PyTree[Array]:
        """Computes the next ψ from the state and the output control of a point.

        Its fixed points are exactly the points where `missing` is zero.
        """

    @property
    @abc.abstractmethod
    def direct_weights(self) -> PyTree[Array] | None:
        """The weights from the output to the state; `None` for a path without direct weights."""

    @property
    @abc.abstractmethod
    def mirror_weights(self) -> PyTree[Array] | None:
        """The weights that correspond to weights of the system; `None` for any but a mirror."""


class MirrorPath(AbstractControlPath):
    """∂_φf_Sᵀψ + ∂_φh_Sᵀu = 0, with f_S and h_S of a mirror system at the state of the system.

    For an ordered mirror, the control −f_S(φ) brings it to that state, so that one forward and one
    backward pass are exact. Any other mirror is iterated with a unit step.
    """

    mirror: AbstractSystem

    @property
    def direct_weights(self) -> None:
        return None

    @property
    def mirror_weights(self) -> PyTree[Array]:
        return eqx.filter(self.mirror, self.mirror.feedback_parameters())

    def missing(self, sample: Sample, point: Point) -> PyTree[Array]:
        _, _, pull = self.mirror.pullback(point.state, sample.drive)
        return pull(point.control, point.output_control)

    def carry(self, sample: Sample, point: Point) -> PyTree[Array]:
        if not isinstance(self.mirror, AbstractOrderedSystem):
            return tree_add(point.control, self.missing(sample, point))
        mirror_control = tree_scale(-1.0, self.mirror.vector_field(point.state, sample.drive))
        _, pull, _ = settle_and_read(self.mirror, sample, mirror_control)
        return pull(point.output_control)[0]


class LinearPath(AbstractControlPath):
    """ψ = Qu, where Q has one weight for each pair of state element and output."""

    weights: PyTree[Float[Array, "... outputs"]]

    @property
    def direct_weights(self) -> PyTree[Array]:
        return self.weights

    @property
    def mirror_weights(self) -> None:
        return None

    def missing(self, sample: Sample, point: Point) -> PyTree[Array]:
        return tree_subtract(self.carry(sample, point), point.control)

    def carry(self, sample: Sample, point: Point) -> PyTree[Array]:
        del sample
        return jax.tree.map(lambda weight: weight @ point.output_control, self.weights)


class ControlPathProblem(AbstractProblem):
    """f + ψ = 0 and αu + ∇_yL = 0, with a control from a separate feedback path.

    The state of an ordered system settles under ψ in one pass; that of any other takes a unit step.
    The output control is the response of the loss with a secant gain, as in an ordered sweep. An
    iterate is a `Point` with a gain.
    """

    remeasured: ClassVar[bool] = True

    problem: ControlProblem
    path: AbstractControlPath
    tolerance: Tolerance

    def initial(self, sample: Sample) -> tuple[Point, Gain]:
        point = Point.first(self.problem.system, sample)
        return point, Gain.initial(self.problem, point.output_control)

    def iterate(
        self, sample: Sample, z: tuple[Point, Gain]
    ) -> tuple[tuple[Point, Gain], tuple[Point, Gain], Float[Array, ""]]:
        (state, control, last), gain = z
        problem = self.problem
        system = problem.system
        if isinstance(system, AbstractOrderedSystem):
            state = system.settle(sample.drive, control)
        read = system.readout(state)
        gain = gain.updated(problem, read, last, problem.own_gain)
        output_control = problem.respond(sample, read, last, gain.value, self.tolerance.rounding)
        point = Point(state, control, output_control)
        carried = self.path.carry(sample, point)
        if isinstance(system, AbstractOrderedSystem):
            # Under the carried control the state residual is the change of the control.
            proposed = measured = point._replace(control=carried)
            state_residual, missing = norm(tree_subtract(carried, control)), norm(0 * read)
        else:
            change = tree_add(system.vector_field(state, sample.drive), control)
            proposed, measured = Point(tree_add(state, change), carried, output_control), point
            state_residual, missing = norm(change), norm(self.path.missing(sample, point))
        output = read + problem.own_gain * output_control
        slope = problem.loss.gradient(output, sample.target)
        leak = problem.leak_of(sample)
        residuals = self.tolerance.control_error(
            state_residual=state_residual,
            optimality_residual=missing,
            leak_residual=norm(leak * output_control + slope),
            state_norm=norm(state),
            control_norm=norm((measured.control, output_control)),
            output_floor=problem.output_floor(sample, output, self.tolerance.rounding),
            leak=leak,
        )
        return (proposed, gain), (measured, gain), residuals.error

    def mixed(self, z: tuple[Point, Gain]) -> tuple[PyTree[Array], ...]:
        if isinstance(self.problem.system, AbstractOrderedSystem):
            return (z[0].control,)
        return (z[0].state, z[0].control)

    def with_mixed(
        self, z: tuple[Point, Gain], blocks: tuple[PyTree[Array], ...]
    ) -> tuple[Point, Gain]:
        state = blocks[0] if len(blocks) == 2 else z[0].state
        return z[0]._replace(state=state, control=blocks[-1]), z[1]
