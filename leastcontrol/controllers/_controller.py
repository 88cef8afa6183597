"""The interface of a controller."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import AbstractControlPath, ControlProblem, Point, Sample, Solution, Tolerance
from ..systems import AbstractSystem


class AbstractController(eqx.Module):
    """Computes the controlled equilibria of a batch of samples.

    A controller may have **feedback weights**, a pytree that carries the control from the output to
    the state. `init` draws them, `equilibrium` uses them, and `feedback_gradient` computes their
    gradient. Those without are an `AbstractControllerWithoutFeedback`.
    """

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the feedback weights; returns `None` where there are none."""

    @abc.abstractmethod
    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> AbstractControlPath | None:
        """Builds the path of the control through the feedback weights.

        Returns `None` for a controller without feedback weights, whose control is the least one.

        **Raises:** `ValueError` for feedback weights that do not fit the system.
        """

    @abc.abstractmethod
    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        """Computes and certifies the controlled equilibria.

        **Arguments:**

        * `problem`: system, loss and leak.
        * `samples`: drives and targets with a leading batch axis.
        * `feedback`: the feedback weights, as returned by `init`.
        """

    @abc.abstractmethod
    def teaching_control(self, system: AbstractSystem, point: Point) -> PyTree[Array]:
        """Returns the control that the parameters of f learn from at the rest point of a sample."""

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
        """Computes the gradient of the feedback weights, or `None` if they are constant.

        **Arguments:**

        * `problem`, `samples`: the problem and the samples that were solved.
        * `points`: the equilibria, zero for samples that do not count.
        * `weights`: of the samples in the mean over the batch.
        * `feedback`: the current feedback weights.
        * `key`: for controllers whose feedback learns from noise.
        """


class AbstractControllerWithoutFeedback(AbstractController):
    """A controller without feedback weights, whose system learns from the control ψ itself."""

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> None:
        """Returns `None`: there are no feedback weights."""
        del system, key

    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> None:
        """Returns `None`: the control is the pullback through the system itself."""
        del system, feedback

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
