"""Dynamic inversion with separate backward weights."""

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
    """Dynamic inversion through a mirror, whose weights converge to those of the system.

        φ̇ = f + ψ,   ψ̇ = ∂_φf_Sᵀψ + ∂_φh_Sᵀu,   αu + ∇_yL = 0

    Here f_S and h_S are f and h at the state of the system, but with separate weights S for the
    maps that carry control backwards (arXiv 2207.01332, section 4.1, after Kolen and Pollack 1994).
    This needs no weight transport: S learns from the same product of neural activities as W,

        ΔW = ψσ(φ)ᵀ − γW,   ΔSᵀ = ψσ(φ)ᵀ − γSᵀ.

    With equal optimisers and the weight decay γ (`TrainingConfig.weight_decay`) the difference of W
    and S vanishes, and the equilibrium becomes that of least control. Until then control and
    gradient are approximate. The `optimality_residual` of the certificate is that of the mirror,
    ‖∂_φf_Sᵀψ + ∂_φh_Sᵀu‖.

    The feedback is a pytree like the system that contains S in place of the arrays marked by
    `feedback_parameters`, in the orientation of the forward weights, and `None` elsewhere.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the iteration; by default at most 60 plain sweeps for an ordered system, and 1000
      plain steps for any other. Few samples need hundreds, but acceleration would lose more.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws normal weights, with the root mean square of each array of the system."""
        return mirror_weights(system, key=key)

    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> MirrorPath:
        """Builds the path through the mirror of the system."""
        return MirrorPath(mirror_of(system, feedback))

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        ordered = isinstance(problem.system, AbstractOrderedSystem)
        solver = FixedPoint(max_steps=60 if ordered else 1000)
        path = self.path(problem.system, feedback)
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
        """Computes −Σ_b w_b ∂_Sf_S(φ_b)ᵀψ_b + ∂_Sh_S(φ_b)ᵀu_b."""
        del key

        def field_and_readout(feedback: PyTree) -> tuple[PyTree, Array]:
            mirror = mirror_of(problem.system, feedback)

            def of_one(sample: Sample, state: PyTree) -> tuple[PyTree, Array]:
                return mirror.vector_field(state, sample.drive), mirror.readout(state)

            return jax.vmap(of_one)(samples, points.state)

        _, pull = jax.vjp(field_and_readout, feedback)
        weigh = lambda leaf: -weights.reshape(-1, *(1,) * (leaf.ndim - 1)) * leaf  # noqa: E731
        return pull(jax.tree.map(weigh, (points.control, points.output_control)))[0]
