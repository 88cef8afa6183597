"""MAML without second derivatives."""

from typing import Any

import jax
from jaxtyping import PyTree

from ...equilibrium import Tolerance
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, GradientDescent
from ._rule import AbstractAfterAdaptation
from ._weights import Task, Weights, for_slow


class FirstOrderMAML(AbstractAfterAdaptation):
    """MAML without second derivatives: Δω = −∇L_evaluate(φ) (Finn et al., arXiv 1703.03400)."""

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        del support
        return for_slow(system, jax.grad(system.evaluation)(state, query))
