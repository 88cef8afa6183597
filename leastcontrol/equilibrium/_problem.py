"""The controlled equilibrium of a system: the part that all formulations of it share."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..losses import RESPONSE_ITERATIONS, AbstractLoss, as_loss
from ..systems import AbstractSystem

# A response of the loss takes a few Newton steps. One response suffices from a close guess, but a
# saturated output under strong control needs many from zero.
_MAX_RESPONSES = 16


class Sample(NamedTuple):
    """The drive and the target of one sample and, if known, a point near its equilibrium.

    Iterations start from that point; `Exact` and `ContinuousTime` ignore it. A sample may have a
    leak α of its own (`RelativeLeak`), which replaces that of the problem.
    """

    drive: PyTree[Any]
    target: PyTree[Any]
    start: PyTree[Any] = None
    leak: Float[Array, "*batch"] | None = None


class ControlProblem(eqx.Module):
    """The least-control problem of a system, a loss and a leak, which all samples share.

    Samples with a leak of their own (`Sample.leak`) do not use that of the problem.

    Its solution is the state φ, the control ψ and the output control u with

        f(φ) + ψ = 0,   ∂_φfᵀψ + ∂_φhᵀu = 0,   αu + ∇_yL(y, t) = 0,

    where y = h(φ) + u with output neurons and y = h(φ) without. These are the stationarity
    conditions of minimising ½‖ψ‖² (+ ½‖u‖² with output neurons) + L/α subject to the first
    condition (arXiv 2207.01332, equation 7).
    """

    system: AbstractSystem
    loss: AbstractLoss = eqx.field(converter=as_loss)
    leak: float | Float[Array, ""]

    @property
    def own_gain(self) -> float:
        """The direct effect of u on the output: 1 with output neurons, 0 without."""
        return 1.0 if self.system.output_neurons else 0.0

    def leak_of(self, sample: Sample) -> float | Float[Array, ""]:
        """Returns the leak of one sample."""
        return self.leak if sample.leak is None else sample.leak

    def respond(
        self,
        sample: Sample,
        read: Float[Array, " outputs"],
        guess: Float[Array, " outputs"],
        gain: float | Float[Array, ""],
        rounding: float,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Float[Array, " outputs"]:
        """Computes the output control, assuming that the output changes by `gain` times it.

        Keeps a guess whose leak residual is below half the rounding floor. A new response would
        only add the rounding error of the readout, which a network with a large gain amplifies a
        hundred times.
        """
        center = read + (self.own_gain - gain) * guess
        leak = self.leak_of(sample)
        answer = self.loss.response(center, gain, leak, sample.target, guess, iterations)
        output = read + self.own_gain * guess
        residual = leak * guess + self.loss.gradient(output, sample.target)
        floor = self.output_floor(sample, output, rounding)
        answered = jnp.sum(residual**2) <= (0.5 * floor) ** 2
        return jnp.where(answered, guess, answer)

    def answer(
        self,
        sample: Sample,
        read: Float[Array, " outputs"],
        rounding: float,
        guess: Float[Array, " outputs"],
    ) -> Float[Array, " outputs"]:
        """Computes the output control for a fixed readout, starting from a guess."""

        def unanswered(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
            answers, kept, _ = carry
            return ~kept & (answers < _MAX_RESPONSES)

        def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            answers, _, guess = carry
            answer = self.respond(sample, read, guess, self.own_gain, rounding)
            return answers + 1, jnp.all(answer == guess), answer

        # A loop compiles faster than its unrolled steps.
        first = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), guess)
        return jax.lax.while_loop(unanswered, again, first)[2]

    def output_floor(
        self, sample: Sample, output: Float[Array, " outputs"], rounding: float
    ) -> Float[Array, ""]:
        """Computes the rounding floor of ‖αu + ∇_yL‖: `rounding` · ε (1 + ‖y‖) |tr ∂²_yL|."""
        curvature = jnp.abs(self.loss.laplacian(output, sample.target))
        size = 1 + jnp.sqrt(jnp.sum(output**2))
        return rounding * jnp.finfo(output.dtype).eps * size * curvature

    def energy(
        self,
        sample: Sample,
        control_square: Float[Array, ""],
        read: Float[Array, " outputs"],
        output_control: Float[Array, " outputs"],
    ) -> Float[Array, ""]:
        """Computes F = ½‖ψ‖² + ½‖u‖² + L(y, t)/α, where u is the response to the readout h(φ).

        Without a leak, the response keeps y at the minimum of L, and the term L/α is omitted.
        """
        output = read + self.own_gain * output_control
        square = control_square + self.own_gain * jnp.sum(output_control**2)
        leak = jnp.asarray(self.leak_of(sample), read.dtype)
        loss = self.loss(output, sample.target)
        return 0.5 * square + jnp.where(leak > 0, loss / jnp.where(leak > 0, leak, 1), 0)
