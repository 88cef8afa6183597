"""The interface of a controller."""

import abc

import equinox as eqx

from ..equilibrium import ControlProblem, Point, Sample, Solution, Tolerance


class AbstractController(eqx.Module):
    """Finds the controlled equilibrium of a batch of samples."""

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def equilibrium(self, problem: ControlProblem, samples: Sample) -> Solution[Point]:
        """Returns the controlled equilibria, certified.

        **Arguments:**

        * `problem`: system, loss and leak.
        * `samples`: drives and targets with a leading batch axis.
        """
