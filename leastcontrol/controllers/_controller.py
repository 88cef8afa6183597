"""The interface of a controller."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import ControlProblem, Point, Sample, Solution, Tolerance
from ..systems import AbstractSystem


class AbstractController(eqx.Module):
    """Finds the controlled equilibrium of a batch of samples.

    A controller may have **feedback weights**, a pytree of its own that carries the control from
    the output to the state: `init` draws them, `equilibrium` uses them, `feedback_gradient` says
    how they learn. Those without are an `AbstractControllerWithoutFeedback`.
    """

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the first feedback weights; returns `None` where there are none."""

    @abc.abstractmethod
    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        """Returns the controlled equilibria, certified.

        **Arguments:**

        * `problem`: system, loss and leak.
        * `samples`: drives and targets with a leading batch axis.
        * `feedback`: what `init` returned, as it is.
        """

    @abc.abstractmethod
    def teaching_control(self, system: AbstractSystem, point: Point) -> PyTree[Array]:
        """Returns the control that the parameters of f learn from at one sample's rest point."""

    @abc.abstractmethod
    def feedback_gradient(
        self,
        problem: ControlProblem,
        samples: Sample,
        points: Point,
        weights: Float[Array, " batch"],
        feedback: PyTree[Any],
        *,
        key: PRNGKeyArray | None,
    ) -> PyTree[Any]:
        """Returns the descent gradient for the feedback weights, or `None` where they stay.

        **Arguments:**

        * `problem`, `samples`: what was solved.
        * `points`: the rest points that were found, zero where they do not count.
        * `weights`: of the samples in the batch's mean.
        * `feedback`: the feedback weights as they are.
        * `key`: for controllers whose feedback learns from noise.
        """


class AbstractControllerWithoutFeedback(AbstractController):
    """A controller without feedback weights, whose system learns from the control ψ itself."""

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> None:
        """Returns `None`: there are no feedback weights."""
        del system, key

    def teaching_control(self, system: AbstractSystem, point: Point) -> PyTree[Array]:
        """Returns ψ."""
        del system
        return point.control

    def feedback_gradient(
        self,
        problem: ControlProblem,
        samples: Sample,
        points: Point,
        weights: Float[Array, " batch"],
        feedback: PyTree[Any],
        *,
        key: PRNGKeyArray | None,
    ) -> None:
        """Returns `None`: there are no feedback weights."""
        del problem, samples, points, weights, feedback, key
