"""Dynamic inversion whose backward path has weights of its own."""

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import (
    ControlPathProblem,
    ControlProblem,
    FixedPoint,
    MirrorPath,
    Point,
    Sample,
    Solution,
    Tolerance,
    certify,
    run,
)
from ..systems import AbstractOrderedSystem, AbstractSystem
from ._controller import AbstractController
from ._feedback_weights import mirror_of, mirror_weights


class KolenPollack(AbstractController):
    """Dynamic inversion through a mirror of the system, whose weights learn to be the system's.

        φ̇ = f + ψ,   ψ̇ = ∂_φf_Sᵀψ + ∂_φh_Sᵀu,   αu + ∇_yL = 0

    with f_S and h_S the system's own functions, taken at its own state, but with separate weights S
    for the maps that carry the control backwards (arXiv 2207.01332, section 4.1, after Kolen and
    Pollack 1994). No weight is transported: S learns from the product of the same two neurons'
    quantities as W does,

        ΔW = ψσ(φ)ᵀ − γW,   ΔSᵀ = ψσ(φ)ᵀ − γSᵀ,

    so that with equal optimisers, and the decay γ that training applies to both
    (`TrainingConfig.weight_decay`), their difference vanishes and the rest point becomes the least
    control's. Until then the control is not the least one and the gradient not exact; the
    certificate's `optimality_residual` is that of the mirror, ‖∂_φf_Sᵀψ + ∂_φh_Sᵀu‖.

    The feedback is a pytree like the system with S in the place of what `feedback_parameters`
    names, in the orientation of the forward weights, and `None` elsewhere.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: how the iteration is run; by default 60 plain sweeps for an ordered system, and 1000
      plain steps for any other: few samples need hundreds, and acceleration loses more of them.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns normal weights, each array's with the root mean square of the system's own."""
        return mirror_weights(system, key=key)

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        ordered = isinstance(problem.system, AbstractOrderedSystem)
        solver = FixedPoint(max_steps=60 if ordered else 1000)
        path = MirrorPath(mirror_of(problem.system, feedback))
        iteration = ControlPathProblem(problem, path, self.tolerance)
        (point, _), steps, _ = run(iteration, self.solver or solver, samples)
        return certify(problem, samples, point, steps, self.tolerance, path.missing)

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
    ) -> PyTree[Any]:
        """Returns −Σ_b w_b ∂_Sf_S(φ_b)ᵀψ_b + ∂_Sh_S(φ_b)ᵀu_b."""
        del key

        def field_and_readout(feedback: PyTree) -> tuple[PyTree, Array]:
            mirror = mirror_of(problem.system, feedback)

            def of_one(sample: Sample, state: PyTree) -> tuple[PyTree, Array]:
                return mirror.vector_field(state, sample.drive), mirror.readout(state)

            return jax.vmap(of_one)(samples, points.state)

        _, pull = jax.vjp(field_and_readout, feedback)
        weigh = lambda leaf: -weights.reshape(-1, *(1,) * (leaf.ndim - 1)) * leaf  # noqa: E731
        return pull(jax.tree.map(weigh, (points.control, points.output_control)))[0]
