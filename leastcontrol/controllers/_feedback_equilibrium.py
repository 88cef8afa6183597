"""The equilibrium of a feedforward network under direct feedback, without a simulation.

At rest every neuron has v_i = W_i r_{i−1} + b_i + Q_i u, and the controller has αu = e. Given u,
the network settles layer by layer, so the only unknown is the control, one number per output:

    F(u) = e(y⁻ + Δy(u)) − αu = 0.

The Newton matrix is αI + H M. Here H = −∂e/∂y is known exactly. The response
M = dy/du = Σ_i J_i Q_i is computed at the free output and then updated by Broyden's rank-one
formula, so that each step costs one pass through the network. A step that increases ‖F‖ is halved,
and still updates M.

The network is settled in differences from its free equilibrium, so that small nudges keep their
digits (`activation_difference`). Feedback can also learn without a simulation: noise that is slow
compared with the controller shifts the equilibrium, and linear feedback learns from the resulting
change of u (`noisy_response`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..equilibrium import AbstractProblem, FixedPoint, Tolerance, run
from ..equilibrium._trees import norm, tree_where
from ..losses import AbstractLoss
from ..systems import Feedforward, activation_difference
from ._direct_feedback import Layers, output_jacobian, output_response
from ._teaching import AbstractTeaching

Output = Float[Array, " outputs"]


class FeedbackSample(NamedTuple):
    """The free voltages, the reference and the constant disturbance of one sample.

    The disturbance is added to the feedback input of each layer; `None` for none.
    """

    free: Layers
    reference: PyTree[Any]
    disturbance: Layers | None = None


class FeedbackPoint(NamedTuple):
    """A control u, and the changes Δv of all voltages from the free equilibrium under u."""

    control: Output
    change: Layers


class _Scaled(NamedTuple):
    """A sample with its error norm ‖e‖ without control."""

    sample: FeedbackSample
    first: Float[Array, "..."]


class _Iterate(NamedTuple):
    # The next trial.
    control: Output
    # The best control so far, with its voltage changes and its residual F.
    best: FeedbackPoint
    residual: Output
    response: Float[Array, "outputs outputs"]
    trust: Float[Array, ""]
    begun: Bool[Array, ""]


class FeedbackEquilibrium(AbstractProblem):
    """The equilibrium of a network under direct feedback, as an iteration of the control u.

    **Arguments:** `network`; `weights` Q_i of each layer; `teaching` and `loss`, which define the
    error; `leak` α; `tolerance`, of ‖e − αu‖ relative to the error at u = 0.
    """

    network: Feedforward
    weights: Layers
    teaching: AbstractTeaching
    loss: AbstractLoss
    leak: float
    tolerance: Tolerance

    def settle(self, sample: FeedbackSample, control: Output) -> Layers:
        """Computes the changes of the voltages under a control."""
        changes: list[Array] = []
        for index, layer in enumerate(self.network.layers):
            change = self.weights[index] @ control
            if sample.disturbance is not None:
                change = change + sample.disturbance[index]
            if index > 0:
                below = activation_difference(
                    self.network.activation, sample.free[index - 1], changes[-1]
                )
                change = change + layer.weight @ below
            changes.append(change)
        return tuple(changes)

    def output_error(self, sample: FeedbackSample, change: Output) -> Output:
        """Computes e for an output changed by Δy."""
        return self.teaching.error(self.loss, sample.free[-1], change, sample.reference)

    def first_error(self, sample: FeedbackSample) -> Float[Array, ""]:
        """Computes ‖e‖ without control, under the disturbance."""
        change = jnp.zeros_like(sample.free[-1])
        if sample.disturbance is not None:
            change = self.settle(sample, change)[-1]
        return norm(self.output_error(sample, change))

    def allowed(
        self, sample: FeedbackSample, first: Float[Array, ""], change: Output
    ) -> Float[Array, ""]:
        """Computes the largest allowed ‖e − αu‖, where `first` is the error without control."""
        rounding = self.tolerance.rounding * jnp.finfo(change.dtype).eps
        size = self.teaching.magnitude(self.loss, sample.free[-1], change, sample.reference)
        return self.tolerance.relative * first + rounding * size

    def initial(self, sample: _Scaled) -> _Iterate:
        free = sample.sample.free
        response = output_response(self.network, self.weights, free)
        control = jnp.zeros_like(free[-1])
        no_change = tuple(jnp.zeros_like(leaf) for leaf in free)
        one = jnp.ones((), control.dtype)
        best = FeedbackPoint(control, no_change)
        return _Iterate(control, best, control, response, one, jnp.asarray(False))

    def iterate(self, sample: _Scaled, z: _Iterate) -> tuple[_Iterate, _Iterate, Float[Array, ""]]:
        unscaled = sample.sample
        change = self.settle(unscaled, z.control)
        residual = self.output_error(unscaled, change[-1]) - self.leak * z.control
        moved = z.control - z.best.control
        square = jnp.sum(moved**2)
        seen = change[-1] - z.best.change[-1] - z.response @ moved
        update = jnp.outer(seen, moved) / jnp.where(square > 0, square, 1)
        usable = z.begun & jnp.all(jnp.isfinite(update))
        response = jnp.where(usable, z.response + update, z.response)

        worse = z.begun & ~(norm(residual) < norm(z.residual))
        tried = FeedbackPoint(z.control, change)
        best, remaining = tree_where(worse, (z.best, z.residual), (tried, residual))
        trust = jnp.where(worse, 0.5 * z.trust, jnp.minimum(1.0, 2 * z.trust))

        output = unscaled.free[-1] + best.change[-1]

        def bend(column: Output) -> Output:
            reference = unscaled.reference
            return self.teaching.curvature_product(self.loss, output, reference, column)

        identity = jnp.eye(remaining.size, dtype=remaining.dtype)
        newton = self.leak * identity + jax.vmap(bend, 1, 1)(response)
        step = jnp.linalg.solve(newton, remaining)
        share = self.teaching.trusted_step(self.loss, response @ step)
        control = best.control + trust * share * step
        proposed = _Iterate(control, best, remaining, response, trust, jnp.asarray(True))
        size = norm(remaining)
        allowed = self.allowed(unscaled, sample.first, best.change[-1])
        error = jnp.where(size == 0, 0, size / allowed)
        # A control that is not finite is a failure, even if an earlier one was finite.
        error = jnp.where(jnp.all(jnp.isfinite(control)), error, jnp.nan)
        return proposed, proposed, error.astype(residual.dtype)

    def mixed(self, z: _Iterate) -> tuple[PyTree[Array], ...]:
        return (z.control,)

    def with_mixed(self, z: _Iterate, blocks: tuple[PyTree[Array], ...]) -> _Iterate:
        return z._replace(control=blocks[0])


class FeedbackRest(NamedTuple):
    """The equilibria of a batch, with their residuals.

    * `point`: control and changes of the voltages.
    * `steps`: number of iterations.
    * `residual`: ‖e − αu‖ at the point.
    * `error`: the residual as a multiple of its allowed value.
    * `response`: the last estimate of dy/du.
    """

    point: FeedbackPoint
    steps: Int[Array, " batch"]
    residual: Float[Array, " batch"]
    error: Float[Array, " batch"]
    response: Float[Array, "batch outputs outputs"]


def feedback_equilibrium(
    problem: FeedbackEquilibrium,
    solver: FixedPoint,
    samples: FeedbackSample,
    near: FeedbackRest | None = None,
) -> FeedbackRest:
    """Solves for the equilibria of a batch under direct feedback.

    **Arguments:**

    * `problem`, `solver`, `samples`: the problem, how to iterate, and the batch.
    * `near`: equilibria of a similar problem, from which the iteration starts.
    """
    start = None
    if near is not None:

        def warm(sample: FeedbackSample, rest: FeedbackRest) -> _Iterate:
            control = rest.point.control
            one = jnp.ones((), control.dtype)
            return _Iterate(control, rest.point, control, rest.response, one, jnp.asarray(False))

        start = jax.vmap(warm)(samples, near)
    scaled = _Scaled(samples, jax.vmap(problem.first_error)(samples))
    last, steps, _ = run(problem, solver, scaled, start)

    def measured(
        sample: _Scaled, point: FeedbackPoint
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        # The changes of a point always belong to its control, so there is no need to settle again.
        change = point.change[-1]
        error = problem.output_error(sample.sample, change)
        residual = norm(error - problem.leak * point.control)
        multiple = residual / problem.allowed(sample.sample, sample.first, change)
        # The allowed residual is zero for a sample that needs no control.
        return residual, jnp.where(residual == 0, 0, multiple)

    residual, error = jax.vmap(measured)(scaled, last.best)
    return FeedbackRest(last.best, steps, residual, error, last.response)


def noisy_response(
    problem: FeedbackEquilibrium,
    solver: FixedPoint,
    samples: FeedbackSample,
    rest: FeedbackRest | None,
    noise: Layers,
) -> tuple[Layers, Float[Array, "batch outputs"], Bool[Array, " batch"]]:
    """Computes how constant noise in the apical voltages shifts the equilibria.

    Returns the changes Q δu + ε of the apical voltages, the changes δu of the controls, and a
    boolean for each sample that is true if both its equilibria were solved.

    **Arguments:** `problem`, `solver`, `samples`; `rest`, the equilibria without noise, or `None`
    for the free equilibrium; `noise` ε.
    """
    shifted = feedback_equilibrium(problem, solver, samples._replace(disturbance=noise), rest)
    both_solved = shifted.error <= 1
    moved = shifted.point.control
    if rest is not None:
        both_solved = both_solved & (rest.error <= 1)
        moved = moved - rest.point.control
    apical = tuple(
        moved @ weight.T + epsilon for weight, epsilon in zip(problem.weights, noise, strict=True)
    )
    return apical, moved, both_solved


def linearised_control(
    network: Feedforward,
    weights: Layers | None,
    leak: float,
    free: Layers,
    error: Output,
) -> tuple[Output, Layers]:
    """Computes the control of one sample to first order, and the feedback input of each layer.

        (JQ + αI) u = e,   Δv = Q u

    at the free equilibrium (arXiv 2106.07887, equation 5). Without weights, Q = Jᵀ.

    **Arguments:** `network`; `weights` Q_i of each layer, or `None`; `leak` α; `free` voltages;
    `error` e of the free output.
    """
    if weights is None:
        weights = tuple(block.T for block in output_jacobian(network, free))
    response = output_response(network, weights, free)
    control = jnp.linalg.solve(response + leak * jnp.eye(error.size, dtype=error.dtype), error)
    return control, tuple(weight @ control for weight in weights)
