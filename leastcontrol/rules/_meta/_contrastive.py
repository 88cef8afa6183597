"""Contrastive meta-learning: the contrast of a free and a nudged phase."""

import math
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ...equilibrium import Tolerance
from ...equilibrium._trees import tree_scale, tree_subtract
from ...systems import FastWeights
from .._policy import AbstractUnsolved, Keep
from ._adaptation import AbstractAdaptation, Relaxation
from ._rule import AbstractAfterAdaptation
from ._weights import Task, Weights, check_momentum, check_steps, descend


class ContrastiveMeta(AbstractAfterAdaptation):
    """The contrast of two phases: Δω = λ(φ_β − φ)/β (Zucchet et al., arXiv 2104.01677).

    The second phase starts at φ and follows the free dynamics with −β∇L_evaluate added; it ends at
    φ_β. The pull learns by Δλ = −½[(φ_β − ω)² − (φ − ω)²]/β.

    **Arguments:**

    * `adaptation`, `unsolved`, `tolerance`: as for the others.
    * `strength`: the nudging strength β > 0.
    * `steps`, `step_size`, `momentum`: of the second phase.

    **Raises:** `ValueError` if the strength, `steps`, the step size or the momentum is out of its
    range.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()
    strength: float = eqx.field(static=True, default=0.1)
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_steps(self)
        check_momentum(self)
        if not 0 < self.strength < math.inf:
            raise ValueError(
                f"`strength` is {self.strength}, but the strength β of the second phase is above 0 "
                "and finite: write ContrastiveMeta(strength=0.1)."
            )

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        def field(state: Weights) -> Weights:
            slope = jax.grad(system.evaluation)(state, query)
            return tree_subtract(
                system.vector_field(state, support), tree_scale(self.strength, slope)
            )

        nudged = descend(field, state, self.steps, self.step_size, self.momentum)
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def contrast(learned: PyTree) -> Float[Array, ""]:
            system = eqx.combine(learned, fixed)
            return system.potential(nudged, support) - system.potential(state, support)

        return tree_scale(1 / self.strength, jax.grad(contrast)(learned))
