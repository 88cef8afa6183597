"""The squared error, of which all is known in closed form."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._loss import RESPONSE_ITERATIONS, AbstractLoss, Number, Output, Scalar


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
        """Computes y − t."""
        return output - target

    def hessian_product(self, output: Output, target: Output, change: Output) -> Output:
        """Returns δy."""
        del output, target
        return change

    def laplacian(self, output: Output, target: Output) -> Scalar:
        """Returns the number of outputs."""
        del target
        return jnp.asarray(output.size, output.dtype)

    def concavity(self, output: Output, target: Output, leak: Number) -> Scalar:
        """Returns 0."""
        del target, leak
        return jnp.zeros((), output.dtype)

    def trusted_step(self, change: Output) -> Scalar:
        """Returns 1, because Newton's method is exact for a quadratic."""
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
        """Computes (t − c) / (α + γ)."""
        del guess, iterations
        return (target - center) / (leak + gain)

    def response_change(
        self, output: Output, target: Output, gain: float, leak: Number, change: Output
    ) -> Output:
        """Computes −δc / (α + γ)."""
        del output, target
        return -change / (leak + gain)
