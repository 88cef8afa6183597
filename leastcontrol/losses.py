"""The loss of one sample, with the derivatives that controllers use.

A controller does not minimise a loss; it computes the control with which the loss nudges the
output. So a loss offers, besides its value, its gradient with respect to the output, products with
its Hessian, and the **response**

    u with  αu + ∇_y L(c + γu, t) = 0,

the output control at rest if the output depends on it as y = c + γu. For γ = 1 and output neurons
this is the proximal map of L at c.

A loss is always that of one sample. The code of the least-control paper takes the mean over the
batch inside the controller, so its control strength depends on the batch size;
`leastcontrol.controllers.batch_mean_leak` converts its leaks.

No method forms a matrix of outputs by outputs, so that memory is linear in the number of classes.

Wherever a loss is asked for, a plain function of one sample's output and target will do. `as_loss`
makes it a `FunctionLoss`, which derives what controllers use.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

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
"""Default number of Newton steps for the response of the cross-entropy.

Newton's method converges quadratically once within a unit of the solution. A solver computes the
response in every step and starts from the previous one, so few steps suffice.
"""

SUM_TOLERANCE = 1e-3
"""Tolerance on the sum of the target probabilities, which should be 1."""


class AbstractLoss(eqx.Module):
    """The loss L(y, t) of one sample, convex in y."""

    @abc.abstractmethod
    def __call__(self, output: Output, target: PyTree[Any]) -> Scalar:
        """Computes L(y, t)."""

    @abc.abstractmethod
    def check_target(self, target: PyTree[Any], outputs: int, leak: float) -> None:
        """Raises `ValueError` if the targets of a batch do not suit this loss and leak."""

    @abc.abstractmethod
    def admits(self, target: PyTree[Any], outputs: int) -> Bool[Array, ""]:
        """Returns whether the loss is defined for the target of one sample.

        `check_target` raises an error for other targets, but cannot see values under a trace. There
        a rule drops samples whose target is not admitted, and L is NaN.
        """

    @abc.abstractmethod
    def gradient(self, output: Output, target: PyTree[Any]) -> Output:
        """Computes ∇_y L(y, t)."""

    @abc.abstractmethod
    def hessian_product(self, output: Output, target: PyTree[Any], change: Output) -> Output:
        """Computes ∂²_y L(y, t) δy for a change δy of the output."""

    @abc.abstractmethod
    def laplacian(self, output: Output, target: PyTree[Any]) -> Scalar:
        """Computes tr ∂²_y L(y, t), or an estimate of it."""

    @abc.abstractmethod
    def concavity(self, output: Output, target: PyTree[Any], leak: Number) -> Scalar:
        """Computes how far the loss is from convex at y: 0 where it is convex.

        Where it is not, returns −v·∂²_yL v for a unit direction v along which it bends down, as a
        multiple of α plus the size of ∂²_yL along a fixed direction.
        """

    @abc.abstractmethod
    def trusted_step(self, change: Output) -> Scalar:
        """Computes the safe fraction of a Newton step, given the step's change of the output."""

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
        """Solves αu + ∇_y L(c + γu, t) = 0 for u, for a gain γ > 0 and a leak α ≥ 0.

        If no closed form exists, takes the given number of iterations from `guess`.
        """

    @abc.abstractmethod
    def response_change(
        self, output: Output, target: PyTree[Any], gain: float, leak: Number, change: Output
    ) -> Output:
        """Computes the change −(αI + γ∂²_yL)⁻¹ ∂²_yL δc of the response u at y = c + γu.

        It is linear in the change δc of the centre, and can be differentiated in it.
        """


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


NEWTON_STEPS = 50
"""Largest number of Newton steps for the response of a `FunctionLoss`."""

PROBES = 8
"""Number of directions along which the Laplacian of a `FunctionLoss` is estimated."""

CONVEXITY_STEPS = 64
"""Largest number of products that look for a direction along which a `FunctionLoss` bends down."""

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
        """Looks for a direction along which L bends down, by conjugate gradients.

        Conjugate gradients from a generic direction meet one within as many steps as there are
        outputs if there is one, and usually much earlier. Curvature of less than √ε times α plus
        the size of ∂²_yL counts as none, for the machine epsilon ε.
        """
        _, bend = jax.linearize(lambda y: self.gradient(y, target), output)
        generic = np.random.default_rng(1).normal(size=output.size)
        first = jnp.asarray(generic / np.linalg.norm(generic), output.dtype)
        epsilon = jnp.finfo(output.dtype).eps
        size = jnp.abs(jnp.asarray(leak, output.dtype)) + jnp.sqrt(jnp.sum(bend(first) ** 2))
        # The second term is the rounding of a Hessian whose terms are of size 1 and cancel.
        slack = jnp.sqrt(epsilon) * size + 16 * epsilon
        shifted = lambda v: bend(v) + slack * v  # noqa: E731
        enough = float(epsilon) ** 2
        last = _conjugate_gradients(shifted, first, enough, min(output.size, CONVEXITY_STEPS))
        along = last.curvature - slack
        return jnp.where(last.curvature <= 0, -along / (size + slack), 0)

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
            return _conjugate_gradients(product, right, enough, 2 * right.size).step

        # The derivative of the loop would be that of its first iterate, since a change is zero
        # where it is linearised.
        return jax.lax.custom_linear_solve(
            lambda v: leak * v + gain * bend(v), bent, solve, symmetric=True
        )


class _Response(NamedTuple):
    control: Float[Array, " outputs"]
    steps: Integer[Array, ""]
    ended: Bool[Array, ""]


class _Conjugate(NamedTuple):
    step: Float[Array, " outputs"]
    residual: Float[Array, " outputs"]
    direction: Float[Array, " outputs"]
    # v·Av for the last direction, divided by its length to v.
    curvature: Scalar
    steps: Integer[Array, ""]
    ended: Bool[Array, ""]


def _newton_step(product: Callable[[Output], Output], residual: Output) -> Output:
    """Solves Ad = −r by conjugate gradients, up to the square of ‖r‖ or a negative curvature."""
    squared = jnp.sum(residual**2)
    enough = jnp.minimum(0.01, squared) * squared
    last = _conjugate_gradients(product, -residual, enough, 2 * residual.size)
    # Where the first direction already bends down, it is followed as it is.
    return jnp.where((last.curvature <= 0) & (last.steps == 1), -residual, last.step)


def _conjugate_gradients(
    product: Callable[[Output], Output], right: Output, enough: Number, most: int
) -> _Conjugate:
    """Solves Ad = b from d = 0, until ‖b − Ad‖² is small enough or a direction bends down."""

    def unfinished(last: _Conjugate) -> Bool[Array, ""]:
        return ~last.ended & (last.steps < most)

    def advance(last: _Conjugate) -> _Conjugate:
        bent = product(last.direction)
        along, square = jnp.sum(last.direction * bent), jnp.sum(last.residual**2)
        curved = along > 0
        length = jnp.where(curved, square / jnp.where(curved, along, 1), 0)
        step = last.step + length * last.direction
        left = last.residual - length * bent
        left_squared = jnp.sum(left**2)
        direction = left + left_squared / jnp.where(square > 0, square, 1) * last.direction
        curvature = along / jnp.sum(last.direction**2)
        ended = ~curved | (left_squared <= enough)
        return _Conjugate(step, left, direction, curvature, last.steps + 1, ended)

    first = _Conjugate(
        jnp.zeros_like(right),
        right,
        right,
        jnp.ones((), right.dtype),
        jnp.zeros((), jnp.int32),
        ~(jnp.sum(right**2) > 0),
    )
    return jax.lax.while_loop(unfinished, advance, first)


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
