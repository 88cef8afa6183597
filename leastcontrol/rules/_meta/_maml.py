"""Differentiation through the steps of an adaptation."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ...equilibrium import Solution, Tolerance
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, GradientDescent
from ._rule import AbstractMetaRule, Outcome
from ._weights import Task


class MAML(AbstractMetaRule):
    """Differentiates through the adaptation: Δω = −∇_ω L_evaluate(φ(ω)) (arXiv 1703.03400).

    Its memory grows with the steps of the adaptation.
    """

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def after(learned: PyTree) -> tuple[Float[Array, ""], Solution]:
            system = eqx.combine(learned, fixed)
            state, steps = self.adaptation.adapt(system, support)
            solution = self.adaptation.certified(system, state, steps, support, self.tolerance)
            return system.evaluation(state, query), solution

        (loss, solution), gradient = jax.value_and_grad(after, has_aux=True)(learned)
        return Outcome(gradient, loss, loss, solution)
