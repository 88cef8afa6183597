"""The rest point that direct feedback holds a feedforward network at, without simulating it.

At rest every neuron has v_i = W_i r_{i−1} + b_i + Q_i u and the controller αu = e. Once u is known
the network settles layer by layer, so the unknown is the control alone, one number for each output:

    F(u) = e(y⁻ + Δy(u)) − αu = 0.

Newton's matrix is αI + H M with H = −∂e/∂y, which is known exactly, and the output's response
M = dy/du = Σ_i J_i Q_i, which is computed at the free output and then kept up to date by Broyden's
rank-one formula: one pass through the network for each step. A step that makes F larger is taken
back by half and teaches M all the same.

The network is settled in differences from its free rest point, so that a small nudge keeps its
digits (`activation_difference`). Feedback may learn without a simulation too: noise that changes
slowly against the controller shifts this rest point, and how u answers to it is all that linear
feedback learns from (`noisy_response`).
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
    """What is one sample's own: its free voltages, its reference, and a constant disturbance.

    The disturbance is a voltage for each layer that is added to what feedback drives it with, or
    `None` for none.
    """

    free: Layers
    reference: PyTree[Any]
    disturbance: Layers | None = None


class FeedbackPoint(NamedTuple):
    """A control u with the changes Δv of all voltages from the free rest point under it."""

    control: Output
    change: Layers


class _Scaled(NamedTuple):
    """A sample with the error ‖e‖ that it has without control."""

    own: FeedbackSample
    first: Float[Array, "..."]


class _Iterate(NamedTuple):
    # What is tried next.
    control: Output
    # The best control so far, with the changes and the residual F that belong to it.
    best: FeedbackPoint
    residual: Output
    response: Float[Array, "outputs outputs"]
    trust: Float[Array, ""]
    begun: Bool[Array, ""]


class FeedbackEquilibrium(AbstractProblem):
    """The rest point of a network under direct feedback, as an iteration on the control u.

    **Arguments:** `network`; `weights` Q_i of each layer; `teaching` and `loss`, which make the
    error; `leak` α; `tolerance`, by which ‖e − αu‖ is judged relative to the error at u = 0.
    """

    network: Feedforward
    weights: Layers
    teaching: AbstractTeaching
    loss: AbstractLoss
    leak: float
    tolerance: Tolerance

    def settle(self, sample: FeedbackSample, control: Output) -> Layers:
        """Returns the changes of the voltages under a control."""
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
        """Returns e for an output that has changed by Δy."""
        return self.teaching.error(self.loss, sample.free[-1], change, sample.reference)

    def first_error(self, sample: FeedbackSample) -> Float[Array, ""]:
        """Returns ‖e‖ without control, under the disturbance."""
        change = jnp.zeros_like(sample.free[-1])
        if sample.disturbance is not None:
            change = self.settle(sample, change)[-1]
        return norm(self.output_error(sample, change))

    def allowed(
        self, sample: FeedbackSample, first: Float[Array, ""], change: Output
    ) -> Float[Array, ""]:
        """Returns the largest ‖e − αu‖ of a rest point, where the error was `first`."""
        rounding = self.tolerance.rounding * jnp.finfo(change.dtype).eps
        size = self.teaching.magnitude(self.loss, sample.free[-1], change, sample.reference)
        return self.tolerance.relative * first + rounding * size

    def initial(self, sample: _Scaled) -> _Iterate:
        own = sample.own
        response = output_response(self.network, self.weights, own.free)
        control = jnp.zeros_like(own.free[-1])
        still = tuple(jnp.zeros_like(leaf) for leaf in own.free)
        one = jnp.ones((), control.dtype)
        best = FeedbackPoint(control, still)
        return _Iterate(control, best, control, response, one, jnp.asarray(False))

    def iterate(self, sample: _Scaled, z: _Iterate) -> tuple[_Iterate, _Iterate, Float[Array, ""]]:
        own = sample.own
        change = self.settle(own, z.control)
        residual = self.output_error(own, change[-1]) - self.leak * z.control
        moved = z.control - z.best.control
        square = jnp.sum(moved**2)
        seen = change[-1] - z.best.change[-1] - z.response @ moved
        update = jnp.outer(seen, moved) / jnp.where(square > 0, square, 1)
        usable = z.begun & jnp.all(jnp.isfinite(update))
        response = jnp.where(usable, z.response + update, z.response)

        worse = z.begun & ~(norm(residual) < norm(z.residual))
        tried = FeedbackPoint(z.control, change)
        best, held = tree_where(worse, (z.best, z.residual), (tried, residual))
        trust = jnp.where(worse, 0.5 * z.trust, jnp.minimum(1.0, 2 * z.trust))

        output = own.free[-1] + best.change[-1]
        curvature = self.teaching.curvature(self.loss, output, own.reference)
        identity = jnp.eye(held.size, dtype=held.dtype)
        step = jnp.linalg.solve(self.leak * identity + curvature @ response, held)
        share = self.teaching.trusted_step(self.loss, response @ step)
        control = best.control + trust * share * step
        proposed = _Iterate(control, best, held, response, trust, jnp.asarray(True))
        size = norm(held)
        error = jnp.where(size == 0, 0, size / self.allowed(own, sample.first, best.change[-1]))
        # A control of no finite effect is a failure even where an earlier one was finite.
        error = jnp.where(jnp.all(jnp.isfinite(control)), error, jnp.nan)
        return proposed, proposed, error.astype(residual.dtype)

    def mixed(self, z: _Iterate) -> tuple[PyTree[Array], ...]:
        return (z.control,)

    def with_mixed(self, z: _Iterate, blocks: tuple[PyTree[Array], ...]) -> _Iterate:
        return z._replace(control=blocks[0])


class FeedbackRest(NamedTuple):
    """The rest points of a batch: what was solved, and how well.

    * `point`: control and changes of the voltages. `steps`: of the iteration.
    * `residual`: ‖e − αu‖, measured at the point; `error`: as a multiple of what is allowed.
    * `response`: the estimate of dy/du that the iteration ended with.
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
    """Returns the rest points of a batch.

    **Arguments:**

    * `problem`, `solver`, `samples`: what is solved, how, and for whom.
    * `near`: rest points of a similar problem, from which the iteration then starts.
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
        # Its changes are those that this very control settles the network with.
        change = point.change[-1]
        error = problem.output_error(sample.own, change)
        residual = norm(error - problem.leak * point.control)
        multiple = residual / problem.allowed(sample.own, sample.first, change)
        # A sample that needs no control at all is allowed none.
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
    """Returns what constant noise in the apical voltages does to rest points.

    The changes Q δu + ε of the apical voltages, those δu of the controls, and which samples they
    are known of: those of which both rest points were found.

    **Arguments:** `problem`, `solver`, `samples`; `rest`, the rest points without noise, or `None`
    where that is the free one; `noise` ε.
    """
    shifted = feedback_equilibrium(problem, solver, samples._replace(disturbance=noise), rest)
    found = shifted.error <= 1
    moved = shifted.point.control
    if rest is not None:
        found = found & (rest.error <= 1)
        moved = moved - rest.point.control
    apical = tuple(
        moved @ weight.T + own for weight, own in zip(problem.weights, noise, strict=True)
    )
    return apical, moved, found


def linearised_control(
    network: Feedforward,
    weights: Layers | None,
    leak: float,
    free: Layers,
    error: Output,
) -> tuple[Output, Layers]:
    """Returns one sample's control to first order, and the voltages it adds to each layer.

        (JQ + αI) u = e,   Δv = Q u

    at the free rest point (arXiv 2106.07887, equation 5); without weights Q is Jᵀ.

    **Arguments:** `network`; `weights` Q_i of each layer, or `None`; `leak` α; `free` voltages;
    `error` e of the free output.
    """
    if weights is None:
        weights = tuple(block.T for block in output_jacobian(network, free))
    response = output_response(network, weights, free)
    control = jnp.linalg.solve(response + leak * jnp.eye(error.size, dtype=error.dtype), error)
    return control, tuple(weight @ control for weight in weights)
