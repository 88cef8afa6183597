"""T1-T2: the implicit gradient with the identity for the inverse Hessian."""

from typing import Any

import jax
from jaxtyping import PyTree

from ...equilibrium import Tolerance
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, Relaxation
from ._rule import AbstractAfterAdaptation
from ._weights import Task, Weights, pulled_back


class T1T2(AbstractAfterAdaptation):
    """The implicit gradient with the inverse Hessian replaced by the identity.

    Δω = −λ∇L_evaluate(φ) (Luketina et al., arXiv 1511.06727), which is Δθ = ∂_θfᵀψ with
    ψ = −∇L_evaluate.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        return pulled_back(system, state, support, jax.grad(system.evaluation)(state, query))
