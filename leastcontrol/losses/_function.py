"""A plain function as a loss: what controllers use is derived from it.

Newton's method finds the response. Its steps, the response's change and a direction along which the
function bends down come from conjugate gradients, so no matrix of outputs by outputs is formed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PyTree

from ._curvature import concavity_of, conjugate_gradients
from ._loss import RESPONSE_ITERATIONS, AbstractLoss, Number, Output, Scalar

NEWTON_STEPS = 50
"""Largest number of Newton steps for the response of a `FunctionLoss`."""

PROBES = 8
"""Number of directions along which the Laplacian of a `FunctionLoss` is estimated."""

_HALVINGS = 30
# Smallest decrease of the merit that is accepted, as a share of what the slope promises.
_DECREASE = 1e-4


class Outputs(NamedTuple):
    """The structure, shapes and dtypes of outputs that are pytrees, for which a loss is written."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    @staticmethod
    def of(outputs: PyTree[Any]) -> "Outputs":
        """Reads them off a pytree of arrays."""
        leaves, structure = jax.tree.flatten(outputs)
        shapes = tuple(tuple(leaf.shape) for leaf in leaves)
        return Outputs(structure, shapes, tuple(np.dtype(leaf.dtype) for leaf in leaves))

    def from_vector(self, output: Output) -> PyTree[Array]:
        """Cuts one vector into the arrays of the pytree."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        parts = jnp.split(output, ends)
        leaves = [
            part.reshape(shape).astype(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)


class FunctionLoss(AbstractLoss):
    """A function of one sample's output and target, twice differentiable and convex in the output.

    The response minimises the function αγ‖u‖²/2 + L(c + γu, t) of u by Newton's method: conjugate
    gradients with Hessian products solve for each step, and a step is halved until the function
    falls. Where L is not convex, the response may be another stationary point or none. A controlled
    equilibrium at which L bends down has the result `not_convex`.

    **Arguments:**

    * `function`: L(y, t), a scalar.
    * `outputs`: the structure of y if it is a pytree and not one vector; `least_control` fills it
      in.
    """

    function: Callable[..., Array] = eqx.field(static=True)
    outputs: Outputs | None = eqx.field(static=True, default=None)

    def __call__(self, output: Output, target: PyTree[Any]) -> Scalar:
        if self.outputs is None:
            return self.function(output, target)
        return self.function(self.outputs.from_vector(output), target)

    def check_target(self, target: PyTree[Any], outputs: int, leak: float) -> None:
        """Raises `ValueError` if the function does not compute one number of a sample."""
        del leak
        one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(target)]
        floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
        vector = jax.ShapeDtypeStruct((outputs,), [*floating, jnp.result_type(float)][0])
        value = jax.eval_shape(self.__call__, vector, jax.tree.map(one, target))
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"The loss returned {value} for one sample, but a loss is one number of floating "
                "point: return a scalar, such as jnp.sum(...)."
            )

    def admits(self, target: PyTree[Any], outputs: int) -> Bool[Array, ""]:
        """Returns true, because only the function knows; a value of NaN is not solved."""
        del target, outputs
        return jnp.asarray(True)

    def gradient(self, output: Output, target: PyTree[Any]) -> Output:
        """Computes ∇_y L by reverse-mode differentiation."""
        return jax.grad(self.__call__)(output, target)

    def hessian_product(self, output: Output, target: PyTree[Any], change: Output) -> Output:
        """Computes ∂²_yL δy, as the derivative of the gradient along δy."""
        return jax.jvp(lambda y: self.gradient(y, target), (output,), (change,))[1]

    def laplacian(self, output: Output, target: PyTree[Any]) -> Scalar:
        """Computes tr ∂²_yL for up to `PROBES` outputs, and estimates it for more.

        The estimate is Hutchinson's: the mean of v·∂²_yL v over fixed v with entries ±1. It is
        exact for a diagonal Hessian.
        """
        if output.size <= PROBES:
            directions = np.eye(output.size)
        else:
            signs = np.random.default_rng(0).integers(0, 2, (PROBES, output.size))
            directions = (2 * signs - 1) / np.sqrt(PROBES)
        # One after another, so that no probe adds to the memory.
        along = jax.lax.map(
            lambda v: jnp.sum(v * self.hessian_product(output, target, v)),
            jnp.asarray(directions, output.dtype),
        )
        return jnp.sum(along)

    def concavity(self, output: Output, target: PyTree[Any], leak: Number) -> Scalar:
        """Looks for a direction along which L bends down, by conjugate gradients."""
        _, bend = jax.linearize(lambda y: self.gradient(y, target), output)
        return concavity_of(bend, output, leak)

    def trusted_step(self, change: Output) -> Scalar:
        """Returns 1, because nothing is known of the third derivative."""
        return jnp.ones((), change.dtype)

    def response(
        self,
        center: Output,
        gain: Number,
        leak: Number,
        target: PyTree[Any],
        guess: Output,
        iterations: int = RESPONSE_ITERATIONS,
    ) -> Output:
        """Computes the response by safeguarded Newton–CG from `guess`, to rounding."""
        del iterations
        # Under a negative leak the response is the maximum of the merit, if there is one.
        sign = jnp.where(jnp.asarray(leak) < 0, -1, 1).astype(center.dtype)
        rounding = jnp.finfo(center.dtype).eps

        def merit(u: Output) -> Scalar:
            return sign * (0.5 * leak * gain * jnp.sum(u**2) + self(center + gain * u, target))

        def unanswered(last: _Response) -> Bool[Array, ""]:
            return ~last.ended & (last.steps < NEWTON_STEPS)

        def step(last: _Response) -> _Response:
            slope, bend = jax.linearize(
                lambda y: self.gradient(y, target), center + gain * last.control
            )
            residual = sign * (leak * last.control + slope)
            product = lambda v: sign * (leak * v + gain * bend(v))  # noqa: E731
            change = _newton_step(product, residual)
            before, promised = merit(last.control), gain * jnp.sum(residual * change)
            slack = 8 * rounding * jnp.abs(before)

            def too_long(trial: tuple[Array, Array]) -> Bool[Array, ""]:
                length, halvings = trial
                after = merit(last.control + length * change)
                lower = after <= before + _DECREASE * length * promised + slack
                return ~lower & (halvings < _HALVINGS)

            length, halvings = jax.lax.while_loop(
                too_long,
                lambda trial: (trial[0] / 2, trial[1] + 1),
                (jnp.ones((), center.dtype), jnp.zeros((), jnp.int32)),
            )
            moved = halvings < _HALVINGS
            control = jnp.where(moved, last.control + length * change, last.control)
            size = jnp.sqrt(jnp.sum(leak**2 * last.control**2) + jnp.sum(slope**2))
            exact = jnp.sqrt(jnp.sum(residual**2)) <= rounding * size
            still = jnp.sum(change**2) <= (rounding * (1 + jnp.sum(last.control**2) ** 0.5)) ** 2
            return _Response(control, last.steps + 1, exact | still | ~moved)

        first = _Response(guess, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        return jax.lax.while_loop(unanswered, step, first).control

    def response_change(
        self, output: Output, target: PyTree[Any], gain: float, leak: Number, change: Output
    ) -> Output:
        """Computes −(αI + γ∂²_yL)⁻¹ ∂²_yL δc by conjugate gradients, to √ε."""
        _, bend = jax.linearize(lambda y: self.gradient(y, target), output)
        bent = bend(-change)
        if gain == 0:
            return bent / leak

        def solve(product: Callable[[Output], Output], right: Output) -> Output:
            enough = jnp.finfo(right.dtype).eps * jnp.sum(right**2)
            return conjugate_gradients(product, right, enough, 2 * right.size).step

        # The derivative of the loop would be that of its first iterate, since a change is zero
        # where it is linearised.
        return jax.lax.custom_linear_solve(
            lambda v: leak * v + gain * bend(v), bent, solve, symmetric=True
        )


class _Response(NamedTuple):
    control: Float[Array, " outputs"]
    steps: Integer[Array, ""]
    ended: Bool[Array, ""]


def _newton_step(product: Callable[[Output], Output], residual: Output) -> Output:
    """Solves Ad = −r by conjugate gradients, up to the square of ‖r‖ or a negative curvature."""
    squared = jnp.sum(residual**2)
    enough = jnp.minimum(0.01, squared) * squared
    last = conjugate_gradients(product, -residual, enough, 2 * residual.size)
    # Where the first direction already bends down, it is followed as it is.
    return jnp.where((last.curvature <= 0) & (last.steps == 1), -residual, last.step)


AnyLoss = AbstractLoss | Callable[..., Array]


def as_loss(loss: AnyLoss) -> AbstractLoss:
    """Converts a function of one sample's output and target into a `FunctionLoss`.

    Returns a loss unchanged.

    **Raises:** `ValueError` for what is neither.
    """
    if isinstance(loss, AbstractLoss):
        return loss
    if not callable(loss) or isinstance(loss, type):
        raise ValueError(
            f"The loss is {loss!r}, but a loss is an object such as CrossEntropy() or a function "
            "of one sample's output and target: write loss=lambda y, t: jnp.sum((y - t) ** 2)."
        )
    return FunctionLoss(loss)
