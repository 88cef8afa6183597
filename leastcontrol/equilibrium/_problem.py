"""The controlled equilibrium as a problem: what all of its views share."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..losses import RESPONSE_ITERATIONS, AbstractLoss
from ..systems import AbstractSystem

# Answers of the loss are a few Newton steps each. From zero, and under strong control, a saturated
# output needs many; from a near guess one answer is enough.
_MOST_ANSWERS = 16


class Sample(NamedTuple):
    """What is one sample's own: its drive, its target and, if one is known, a point near its rest.

    The iterations start from that point; `Exact` and `ContinuousTime` have no use for it.
    """

    drive: PyTree[Any]
    target: PyTree[Any]
    start: PyTree[Any] = None


class ControlProblem(eqx.Module):
    """The least-control problem of a system, a loss and a leak; the same for every sample.

    It asks for the state φ, control ψ and output control u with

        f(φ) + ψ = 0,   ∂_φfᵀψ + ∂_φhᵀu = 0,   αu + ∇_yL(y, t) = 0,

    where y = h(φ) + u with output neurons and y = h(φ) without; these are the stationarity
    conditions of min ½‖ψ‖² (+ ½‖u‖²) + L/α under the first (arXiv 2207.01332, equation 7).
    """

    system: AbstractSystem
    loss: AbstractLoss
    leak: float | Float[Array, ""]

    @property
    def own_gain(self) -> float:
        """What one unit of u adds to the output by itself: 1 with output neurons, else 0."""
        return 1.0 if self.system.output_neurons else 0.0

    def respond(
        self,
        sample: Sample,
        read: Float[Array, " outputs"],
        guess: Float[Array, " outputs"],
        gain: float | Float[Array, ""],
        rounding: float,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Float[Array, " outputs"]:
        """Returns the output control, with the output expected to change by `gain` times it.

        A guess that answers to within half the floor of the leak's residual is kept: what a new
        answer would add to it is the rounding of the readout, which a network that answers strongly
        to its own control carries back a hundred times as large.
        """
        center = read + (self.own_gain - gain) * guess
        answer = self.loss.response(center, gain, self.leak, sample.target, guess, iterations)
        output = read + self.own_gain * guess
        residual = self.leak * guess + self.loss.gradient(output, sample.target)
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
        """Returns the output control for a readout that stays, sought from a guess."""

        def unanswered(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
            answers, kept, _ = carry
            return ~kept & (answers < _MOST_ANSWERS)

        def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            answers, _, guess = carry
            answer = self.respond(sample, read, guess, self.own_gain, rounding)
            return answers + 1, jnp.all(answer == guess), answer

        # A loop, and not its steps written out, for the compiler's sake.
        first = (jnp.zeros((), jnp.int32), jnp.zeros((), bool), guess)
        return jax.lax.while_loop(unanswered, again, first)[2]

    def output_floor(
        self, sample: Sample, output: Float[Array, " outputs"], rounding: float
    ) -> Float[Array, ""]:
        """Returns how large rounding may make ‖αu + ∇_yL‖: `rounding` · ε (1 + ‖y‖) |tr ∂²_yL|."""
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
        """Returns F = ½‖ψ‖² + ½‖u‖² + L(y, t)/α, where u answers to the readout h(φ).

        Without leak the answer holds y where L is least, and L/α is left out.
        """
        output = read + self.own_gain * output_control
        square = control_square + self.own_gain * jnp.sum(output_control**2)
        leak = jnp.asarray(self.leak, read.dtype)
        loss = self.loss(output, sample.target)
        return 0.5 * square + jnp.where(leak > 0, loss / jnp.where(leak > 0, leak, 1), 0)
