"""Direct control from the output to the state, through feedback weights learned from noise."""

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
    """Linear feedback ψ = Qu, with Q learned from the effect of state noise on the output control.

        f + Qu = 0,   αu + ∇_yL = 0

    (arXiv 2207.01332, equations 13 and 121.) Solve and certificate need values of f and h but no
    derivatives, so that f may be a `jax.pure_callback`. The equilibrium is that of least control
    for α → 0 if the columns of Q span the row space of ∂_φh (∂_φf)⁻¹ (theorem 2). For many samples,
    or for α > 0, control and gradient are approximate. The parameters of f learn from σ′(φ)ψ
    instead of ψ, which worked best in the paper; the readout learns from u.

    Q learns in the same phase. The controlled system is simulated from its equilibrium with noise ε
    (`NoiseRun`), and

        ΔQ ∝ −⟨(Q(u − u⋆) + sε)(u − u⋆)ᵀ⟩ / s² − γ_Q Q

    (equation 139, where the decay is printed with the wrong sign and Qu stands for Q(u − u⋆); see
    `noise_correlation`). For one sample the mean converges to the transpose of −∂_φh (∂_φf)⁻¹, up
    to a factor in output space (proposition S10). The feedback is a pytree like the state; its
    arrays have the shapes of the state's arrays and a last axis for the output.

    **Arguments:**

    * `tolerance`: of the residuals; the `optimality_residual` is ‖Qu − ψ‖.
    * `solver`: of the iteration; by default at most 60 plain sweeps for an ordered system, and 1000
      plain steps for any other. Few samples need hundreds, but acceleration would lose more.
    * `noise`: the simulation from which Q learns; `None` for a constant Q.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None
    noise: NoiseRun | None = eqx.field(static=True, default=NoiseRun())

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws weights uniform in ±1/√n for a state of n elements."""
        return direct_weights(system, key=key)

    def path(self, system: AbstractSystem, feedback: PyTree[Any]) -> LinearPath:
        """Builds the path ψ = Qu."""
        check_feedback(feedback, jax.eval_shape(direct_weights_like, system))
        return LinearPath(feedback)

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
        """Computes σ′(φ)ψ."""
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
        """Computes ⟨(Q(u − u⋆) + sε)(u − u⋆)ᵀ⟩ / s² + γ_Q Q, averaged over time and samples."""
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
