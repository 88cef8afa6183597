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
    how they learn. The exact controllers have none.
    """

    tolerance: eqx.AbstractVar[Tolerance]

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns the first feedback weights: none."""
        del system, key
        return None

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

    def teaching_control(self, system: AbstractSystem, point: Point) -> PyTree[Array]:
        """Returns the control that the parameters of f learn from at one sample's rest point: ψ."""
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
    ) -> PyTree[Any]:
        """Returns the descent gradient for the feedback weights, or `None` where they stay.

        **Arguments:**

        * `problem`, `samples`: what was solved.
        * `points`: the rest points that were found, zero where they do not count.
        * `weights`: of the samples in the batch's mean.
        * `feedback`: the feedback weights as they are.
        * `key`: for controllers whose feedback learns from noise.
        """
        del problem, samples, points, weights, feedback, key
        return None
