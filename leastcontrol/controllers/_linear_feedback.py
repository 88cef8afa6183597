"""Control that goes straight from the output to the state, through weights learned from noise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import (
    ControlPathProblem,
    ControlProblem,
    FixedPoint,
    LinearPath,
    NoiseRun,
    Point,
    Sample,
    Solution,
    Tolerance,
    certify,
    noise_correlation,
    run,
)
from ..systems import AbstractOrderedSystem, AbstractSystem
from ._controller import AbstractController
from ._feedback_weights import check_feedback, direct_weights, direct_weights_like, tree_slope


class LinearFeedback(AbstractController):
    """ψ = Qu, with Q learned from what noise in the state does to the output control.

        f + Qu = 0,   αu + ∇_yL = 0

    (arXiv 2207.01332, equations 13 and 121.) Of f it needs nothing but its value. The rest point is
    the least control's for α → 0 if the columns of Q span the row space of ∂_φh (∂_φf)⁻¹ (theorem
    2), so that for many samples, or at α > 0, the control and the gradient are approximate. As the
    paper found best, the parameters of f learn from σ′(φ)ψ and not from ψ; the readout from u.

    Q learns in the same single phase: the controlled system is simulated from its rest point with
    noise ε (`NoiseRun`), and

        ΔQ ∝ −⟨(Q(u − u*) + sε)(u − u*)ᵀ⟩ / s² − γ_Q Q

    (equation 139, whose decay is printed with the wrong sign; its Qu is Q(u − u*) here, see
    `noise_correlation`), whose mean for one sample tends to the transpose of −∂_φh (∂_φf)⁻¹ up to a
    factor in the output's space (proposition S10). The feedback is a pytree like the state with
    Q's weights, shaped as the state's arrays and then the output.

    **Arguments:**

    * `tolerance`: of the residuals; the `optimality_residual` is ‖Qu − ψ‖.
    * `solver`: how the iteration is run; by default 60 plain sweeps for an ordered system, and 1000
      plain steps for any other: few samples need hundreds, and acceleration loses more of them.
    * `noise`: how Q learns; `None` for a Q that stays as it is.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None
    noise: NoiseRun | None = eqx.field(static=True, default=NoiseRun())

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns weights uniform in ±1/√n for a state of n elements."""
        return direct_weights(system, key=key)

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        check_feedback(feedback, jax.eval_shape(direct_weights_like, problem.system))
        ordered = isinstance(problem.system, AbstractOrderedSystem)
        solver = FixedPoint(max_steps=60 if ordered else 1000)
        path = LinearPath(feedback)
        iteration = ControlPathProblem(problem, path, self.tolerance)
        (point, _), steps, _ = run(iteration, self.solver or solver, samples)
        return certify(problem, samples, point, steps, self.tolerance, path.missing)

    def teaching_control(self, system: AbstractSystem, point: Point) -> PyTree[Array]:
        """Returns σ′(φ)ψ."""
        return tree_slope(system, point.state, point.control)

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
        """Returns ⟨(Q(u − u*) + sε)(u − u*)ᵀ⟩ / s² + γ_Q Q, averaged over time and samples."""
        noise = self.noise
        if noise is None:
            return None
        if key is None:
            raise ValueError(
                "The feedback learns from noise, which needs a key: write "
                "rule(system, feedback, batch, key=key), or LinearFeedback(noise=None)."
            )
        noise.check_leak(problem.leak)
        part = slice(None, noise.samples)
        samples, points, weights = jax.tree.map(lambda leaf: leaf[part], (samples, points, weights))
        total = jnp.sum(weights)
        weights = weights / jnp.where(total > 0, total, 1)
        path = LinearPath(feedback)
        correlation = noise_correlation(problem, path, samples, points, weights, noise, key=key)
        return jax.tree.map(lambda c, q: c + noise.decay * q, correlation, feedback)
