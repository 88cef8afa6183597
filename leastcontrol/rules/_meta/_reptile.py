"""Reptile: slow weights that move to the fast ones."""

from typing import Any

from jaxtyping import PyTree

from ...equilibrium import Tolerance
from ...equilibrium._trees import tree_subtract
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, GradientDescent
from ._rule import AbstractAfterAdaptation
from ._weights import Task, Weights, for_slow


class Reptile(AbstractAfterAdaptation):
    """Moves the slow weights to the fast ones: Δω = φ − ω (Nichol et al., arXiv 1803.02999).

    It learns from the support set alone; the query set is used only to report the loss.
    """

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        del support, query
        return for_slow(system, tree_subtract(system.slow_weights, state))
