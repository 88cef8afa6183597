"""The cross-entropy, with labels, soft targets and probabilities."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Integer

from ._loss import RESPONSE_ITERATIONS, AbstractLoss, Number, Output, Scalar

SUM_TOLERANCE = 1e-3
"""Tolerance on the sum of the target probabilities, which should be 1."""


class CrossEntropy(AbstractLoss):
    """L(y, t) = −Σ_j t_j log softmax(y)_j.

    A target is a class label or a vector of probabilities. `softness` ε gives the labelled class
    the probability 1 − ε and each other class ε / (N − 1) (arXiv 2207.01332, section S3.1; the
    paper's soft targets have ε = 0.01). Without a leak, a one-hot target would need infinite
    control, so α = 0 requires soft targets.

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
        """Raises `ValueError` for labels out of range, invalid probabilities, or one-hot targets
        without a leak."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            if target.ndim != 1:
                raise ValueError(
                    f"The labels have shape {list(target.shape)}, but there is one label for each "
                    "sample: give integers of shape (batch,)."
                )
            if not isinstance(target, Tracer) and target.size:
                # In NumPy, because under a trace JAX also traces operations on constants.
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
        """Returns whether a label is in range, or probabilities are nonnegative and sum to 1."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            return (target >= 0) & (target < outputs)
        return jnp.all(target >= 0) & (jnp.abs(jnp.sum(target) - 1) < SUM_TOLERANCE)

    def probabilities(
        self, target: Integer[Array, ""] | Output, outputs: int, dtype: Any
    ) -> Float[Array, " {outputs}"]:
        """Converts a target into a vector of probabilities."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            others = self.softness / (outputs - 1) if outputs > 1 else 0.0
            chosen = jnp.arange(outputs) == target
            return jnp.where(chosen, 1 - self.softness, others).astype(dtype)
        return target

    def __call__(self, output: Output, target: Integer[Array, ""] | Output) -> Scalar:
        # Written as a softplus, log Σ_j exp(y_j) − y_k keeps the digits of small losses.
        t = self.probabilities(target, output.size, output.dtype)
        # NaN enters as a factor, so that derivatives of the loss are NaN as well.
        output = output * jnp.where(self.admits(target, output.size), 1.0, jnp.nan)
        chosen = jnp.arange(output.size) == jnp.argmax(t)
        largest = jnp.sum(jnp.where(chosen, output, 0))
        others = jax.nn.logsumexp(jnp.where(chosen, -jnp.inf, output))
        return jax.nn.softplus(others - largest) + jnp.sum(t * (largest - output))

    def gradient(self, output: Output, target: Integer[Array, ""] | Output) -> Output:
        """Computes softmax(y) − t, without cancellation in the entry of the target class."""
        t = self.probabilities(target, output.size, output.dtype)
        chosen = jnp.arange(output.size) == jnp.argmax(t)
        others = jnp.where(chosen, 0, jax.nn.softmax(output) - t)
        return jnp.where(chosen, -jnp.sum(others), others)

    def hessian_product(
        self, output: Output, target: Integer[Array, ""] | Output, change: Output
    ) -> Output:
        """Computes (diag(p) − ppᵀ) δy for p = softmax(y)."""
        del target
        p = jax.nn.softmax(output)
        return p * (change - jnp.sum(p * change))

    def laplacian(self, output: Output, target: Integer[Array, ""] | Output) -> Scalar:
        """Computes Σ p (1 − p) for p = softmax(y)."""
        del target
        p = jax.nn.softmax(output)
        return jnp.sum(p * (1 - p))

    def concavity(
        self, output: Output, target: Integer[Array, ""] | Output, leak: Number
    ) -> Scalar:
        """Returns 0."""
        del target, leak
        return jnp.zeros((), output.dtype)

    def trusted_step(self, change: Output) -> Scalar:
        """Computes log(1 + s) / s, where s is the spread (maximum − minimum) of the change.

        Along any direction the third derivative of log Σ exp is at most s times the second. For
        such functions this damping makes Newton's method converge globally.
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
        """Computes the response by damped Newton steps from `guess`, in closed form for α = 0."""
        t = self.probabilities(target, center.size, center.dtype)
        without_leak = jnp.log(jnp.where(t > 0, t, 1)) - center
        without_leak = (without_leak - jnp.mean(without_leak)) / gain
        no_leak = jnp.asarray(leak == 0)
        shift = jnp.where(no_leak, 1.0, leak).astype(center.dtype)

        def step(_, u):
            y = center + gain * u
            p = jax.nn.softmax(y)
            residual = shift * u + self.gradient(y, target)
            # Sherman–Morrison for (αI + γ(diag(p) − ppᵀ))⁻¹. The denominator 1 − γΣp²/(α + γp) is
            # rewritten because it cancels under strong control.
            scaled = 1 / (shift + gain * p)
            first = scaled * residual
            second = scaled * p
            change = first + gain * second * jnp.sum(p * first) / (shift * jnp.sum(second))
            return u - self.trusted_step(gain * change) * change

        # Unrolled, so that the compiler fuses these small steps into one kernel.
        u = guess
        for iteration in range(iterations):
            u = step(iteration, u)
        return jnp.where(no_leak, without_leak, u)

    def response_change(
        self,
        output: Output,
        target: Integer[Array, ""] | Output,
        gain: float,
        leak: Number,
        change: Output,
    ) -> Output:
        """Computes −(diag(s) − ssᵀ/Σs) δc for s = p / (α + γp) and p = softmax(y)."""
        del target
        p = jax.nn.softmax(output)
        scaled = p / (leak + gain * p)
        return -scaled * (change - jnp.sum(scaled * change) / jnp.sum(scaled))
