"""The loss of one sample, and what a controller asks of it.

A controller never minimises a loss; it asks for the control with which the loss pulls on the
output. So besides its value a loss offers its gradient in the output, its curvature (the Hessian
in the output, and a solve with it) and the **response**

    u with  αu + ∇_y L(c + γu, t) = 0,

the output control at rest when the output answers to it as y = c + γu. For γ = 1 and one output
population that is the proximal map of L at c.

A loss is always that of one sample. The least-control paper's code takes the mean over the batch
inside the controller, which makes its control strength depend on the batch size; how to convert is
said at `leastcontrol.controllers.batch_mean_leak`.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Integer, PyTree

Output = Float[Array, " outputs"]
Scalar = Float[Array, ""]
Number = float | Scalar

RESPONSE_ITERATIONS = 2
"""Steps of Newton's method for the cross-entropy's response, unless a solver asks for fewer.

It converges quadratically once started within a unit of the answer; a solver calls it in every
step, each time from the last answer.
"""

SUM_TOLERANCE = 1e-3
"""How far the sum of target probabilities may be from 1."""


class AbstractLoss(eqx.Module):
    """The loss L(y, t) of one sample, convex in y."""

    @abc.abstractmethod
    def __call__(self, output: Output, target: PyTree[Any]) -> Scalar:
        """Returns L(y, t)."""

    @abc.abstractmethod
    def check_target(self, target: PyTree[Any], outputs: int, leak: float) -> None:
        """Raises `ValueError` if a batch's targets cannot be used with this loss and leak."""

    @abc.abstractmethod
    def admits(self, target: PyTree[Any], outputs: int) -> Bool[Array, ""]:
        """Returns whether one sample's target has values that the loss is defined for.

        `check_target` refuses the others with a sentence, but sees no values inside a trace. There
        a rule leaves out the samples whose target is not admitted, and L itself is NaN.
        """

    @abc.abstractmethod
    def gradient(self, output: Output, target: PyTree[Any]) -> Output:
        """Returns ∇_y L(y, t)."""

    @abc.abstractmethod
    def hessian(self, output: Output, target: PyTree[Any]) -> Float[Array, "outputs outputs"]:
        """Returns ∂²_y L(y, t)."""

    @abc.abstractmethod
    def laplacian(self, output: Output, target: PyTree[Any]) -> Scalar:
        """Returns tr ∂²_y L(y, t)."""

    @abc.abstractmethod
    def trusted_step(self, change: Output) -> Scalar:
        """Returns the share of a Newton step that is safe, given the step's change of output."""

    @abc.abstractmethod
    def response(
        self,
        center: Output,
        gain: Number,
        leak: Number,
        target: PyTree[Any],
        guess: Output,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Output:
        """Returns u with αu + ∇_y L(c + γu, t) = 0, for a gain γ > 0 and a leak α ≥ 0.

        Where that takes an iteration, it is one of so many steps from a guess.
        """

    @abc.abstractmethod
    def response_slope(
        self, output: Output, target: PyTree[Any], gain: float, leak: Number
    ) -> Float[Array, "outputs outputs"]:
        """Returns −∂u/∂c = (αI + γ∂²_yL)⁻¹ ∂²_yL of the response, at its output y = c + γu."""


class SquaredError(AbstractLoss):
    """L(y, t) = ½‖y − t‖², with t of the output's shape."""

    def __call__(self, output: Output, target: Output) -> Scalar:
        return 0.5 * jnp.sum((output - target) ** 2)

    def check_target(self, target: Array, outputs: int, leak: float) -> None:
        """Raises `ValueError` if the targets are not floating-point vectors like the output."""
        del leak
        if not jnp.issubdtype(target.dtype, jnp.floating) or target.shape[1:] != (outputs,):
            raise ValueError(
                f"The targets are {target.dtype}{list(target.shape)}, but the squared error "
                f"compares with an output of {outputs} numbers: give floating-point targets of "
                f"shape (batch, {outputs})."
            )

    def admits(self, target: Output, outputs: int) -> Bool[Array, ""]:
        """Returns whether the target is finite."""
        del outputs
        return jnp.all(jnp.isfinite(target))

    def gradient(self, output: Output, target: Output) -> Output:
        """Returns y − t."""
        return output - target

    def hessian(self, output: Output, target: Output) -> Float[Array, "outputs outputs"]:
        """Returns the identity."""
        del target
        return jnp.eye(output.size, dtype=output.dtype)

    def laplacian(self, output: Output, target: Output) -> Scalar:
        """Returns the number of outputs."""
        del target
        return jnp.asarray(output.size, output.dtype)

    def trusted_step(self, change: Output) -> Scalar:
        """Returns one: Newton's model of a quadratic is the quadratic."""
        return jnp.ones((), change.dtype)

    def response(
        self,
        center: Output,
        gain: Number,
        leak: Number,
        target: Output,
        guess: Output,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Output:
        """Returns (t − c) / (α + γ)."""
        del guess, iterations
        return (target - center) / (leak + gain)

    def response_slope(
        self, output: Output, target: Output, gain: float, leak: Number
    ) -> Float[Array, "outputs outputs"]:
        """Returns I / (α + γ)."""
        return self.hessian(output, target) / (leak + gain)


class CrossEntropy(AbstractLoss):
    """L(y, t) = −Σ_j t_j log softmax(y)_j.

    A target is a class label, or a vector of probabilities. `softness` ε spreads a label's
    probability: 1 − ε for the class, ε / (N − 1) for each other (arXiv 2207.01332, section S3.1;
    the paper's soft targets have ε = 0.01). Without a leak a one-hot target asks for infinite
    control, so α = 0 needs soft targets.

    **Raises:** `ValueError` if ε is not in [0, 1).
    """

    softness: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not 0 <= self.softness < 1:
            raise ValueError(
                f"`softness` is {self.softness}, but it is the probability taken from the class, "
                "at least 0 and below 1: write CrossEntropy(softness=0.01)."
            )

    def check_target(self, target: Array, outputs: int, leak: float) -> None:
        """Raises `ValueError` for labels out of range, misshapen probabilities or a hard target
        without leak."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            if target.ndim != 1:
                raise ValueError(
                    f"The labels have shape {list(target.shape)}, but there is one label for each "
                    "sample: give integers of shape (batch,)."
                )
            if not isinstance(target, Tracer) and target.size:
                # By NumPy: under a trace JAX would trace what it computes of a constant, too.
                low, high = int(np.asarray(target).min()), int(np.asarray(target).max())
                if low < 0 or high >= outputs:
                    raise ValueError(
                        f"The labels run from {low} to {high}, but the system has {outputs} "
                        f"outputs: give labels from 0 to {outputs - 1}, or a system with "
                        f"outputs={max(high + 1, outputs)}."
                    )
            if leak == 0 and self.softness == 0:
                raise ValueError(
                    "The leak is 0 and the targets are one-hot, which asks for infinite control: "
                    "write CrossEntropy(softness=0.01), or a leak above 0."
                )
            return
        if target.shape[1:] != (outputs,):
            raise ValueError(
                f"The targets are {target.dtype}{list(target.shape)}, but the cross-entropy takes "
                f"labels of shape (batch,) or probabilities of shape (batch, {outputs}): give one "
                "of these."
            )
        if isinstance(target, Tracer):
            return
        probabilities = np.asarray(target)
        sums = probabilities.sum(axis=1)
        if not (probabilities >= 0).all() or not (abs(sums - 1) < SUM_TOLERANCE).all():
            raise ValueError(
                f"The target probabilities run from {float(probabilities.min()):g}, with sums from "
                f"{float(sums.min()):g} to {float(sums.max()):g}, but they are at least 0 and sum "
                "to 1: normalise them, or give labels."
            )
        if leak == 0 and not (probabilities > 0).all():
            raise ValueError(
                "The leak is 0 and some target probabilities are 0, which asks for infinite "
                "control: give every class some probability, or write a leak above 0."
            )

    def admits(self, target: Integer[Array, ""] | Output, outputs: int) -> Bool[Array, ""]:
        """Returns whether a label is that of a class, or probabilities are none below 0 and sum
        to 1."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            return (target >= 0) & (target < outputs)
        return jnp.all(target >= 0) & (jnp.abs(jnp.sum(target) - 1) < SUM_TOLERANCE)

    def probabilities(
        self, target: Integer[Array, ""] | Output, outputs: int, dtype: Any
    ) -> Float[Array, " {outputs}"]:
        """Returns the target as a vector of probabilities."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            others = self.softness / (outputs - 1) if outputs > 1 else 0.0
            chosen = jnp.arange(outputs) == target
            return jnp.where(chosen, 1 - self.softness, others).astype(dtype)
        return target

    def __call__(self, output: Output, target: Integer[Array, ""] | Output) -> Scalar:
        # log Σ_j exp(y_j) − y_k as softplus of the others keeps small losses' digits.
        t = self.probabilities(target, output.size, output.dtype)
        # As a factor, so that derivatives through the loss are NaN with it.
        output = output * jnp.where(self.admits(target, output.size), 1.0, jnp.nan)
        chosen = jnp.arange(output.size) == jnp.argmax(t)
        largest = jnp.sum(jnp.where(chosen, output, 0))
        others = jax.nn.logsumexp(jnp.where(chosen, -jnp.inf, output))
        return jax.nn.softplus(others - largest) + jnp.sum(t * (largest - output))

    def gradient(self, output: Output, target: Integer[Array, ""] | Output) -> Output:
        """Returns softmax(y) − t, with the target class's entry free of cancellation."""
        t = self.probabilities(target, output.size, output.dtype)
        chosen = jnp.arange(output.size) == jnp.argmax(t)
        others = jnp.where(chosen, 0, jax.nn.softmax(output) - t)
        return jnp.where(chosen, -jnp.sum(others), others)

    def hessian(
        self, output: Output, target: Integer[Array, ""] | Output
    ) -> Float[Array, "outputs outputs"]:
        """Returns diag(p) − ppᵀ for p = softmax(y)."""
        del target
        p = jax.nn.softmax(output)
        return jnp.diag(p) - jnp.outer(p, p)

    def laplacian(self, output: Output, target: Integer[Array, ""] | Output) -> Scalar:
        """Returns Σ p (1 − p) for p = softmax(y)."""
        del target
        p = jax.nn.softmax(output)
        return jnp.sum(p * (1 - p))

    def trusted_step(self, change: Output) -> Scalar:
        """Returns log(1 + s) / s for the spread s of the change.

        The third derivative of log Σ exp along a direction is at most s times the second, for
        which this damping makes Newton's method converge from anywhere.
        """
        spread = jnp.max(change) - jnp.min(change)
        small = spread < 1e-3
        safe = jnp.where(small, 1.0, spread)
        return jnp.where(small, 1 - spread / 2, jnp.log1p(safe) / safe)

    def response(
        self,
        center: Output,
        gain: Number,
        leak: Number,
        target: Integer[Array, ""] | Output,
        guess: Output,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Output:
        """Returns the response by damped Newton steps from a guess; in closed form for α = 0."""
        t = self.probabilities(target, center.size, center.dtype)
        without_leak = jnp.log(jnp.where(t > 0, t, 1)) - center
        without_leak = (without_leak - jnp.mean(without_leak)) / gain
        no_leak = jnp.asarray(leak == 0)
        shift = jnp.where(no_leak, 1.0, leak).astype(center.dtype)

        def step(_, u):
            y = center + gain * u
            p = jax.nn.softmax(y)
            residual = shift * u + self.gradient(y, target)
            # (αI + γ(diag(p) − ppᵀ))⁻¹ by Sherman and Morrison, whose denominator 1 − γΣp²/(α + γp)
            # is written without the cancellation that strong control makes of it.
            scaled = 1 / (shift + gain * p)
            first = scaled * residual
            second = scaled * p
            change = first + gain * second * jnp.sum(p * first) / (shift * jnp.sum(second))
            return u - self.trusted_step(gain * change) * change

        # Unrolled, so that the compiler fuses the steps on these few numbers into one.
        u = guess
        for iteration in range(iterations):
            u = step(iteration, u)
        return jnp.where(no_leak, without_leak, u)

    def response_slope(
        self, output: Output, target: Integer[Array, ""] | Output, gain: float, leak: Number
    ) -> Float[Array, "outputs outputs"]:
        """Returns (I − α(αI + γ(diag(p) − ppᵀ))⁻¹)/γ, and (diag(p) − ppᵀ)/α for γ = 0."""
        if gain == 0:
            return self.hessian(output, target) / leak
        p = jax.nn.softmax(output)
        scaled = 1 / (leak + gain * p)
        second = scaled * p
        inverse = jnp.diag(leak * scaled) + gain * jnp.outer(second, second) / jnp.sum(second)
        return (jnp.eye(p.size, dtype=p.dtype) - inverse) / gain
