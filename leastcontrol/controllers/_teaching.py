"""What the output is compared with while it is controlled.

A teaching is made of two things: a **reference**, made once for each sample from its free output y⁻
and its target, and the error e of an output y = y⁻ + Δy. Strong feedback takes the loss's own
negative gradient for the error; nudging pulls towards a place a little better than the free output.
The output is given as the two terms of its sum, because what nudging asks for is far smaller than
the output, and would be lost in its rounding.
"""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..equilibrium._trees import norm
from ..losses import AbstractLoss, CrossEntropy

Output = Float[Array, " outputs"]
Scalar = Float[Array, ""]


class AbstractTeaching(eqx.Module):
    """The reference of a sample, and the error of an output compared with it."""

    @abc.abstractmethod
    def check(self, loss: AbstractLoss, targets: PyTree[Array]) -> None:
        """Raises `ValueError` if a batch's targets cannot be used."""

    @abc.abstractmethod
    def reference(self, loss: AbstractLoss, free: Output, target: PyTree[Array]) -> PyTree[Array]:
        """Returns the reference of one sample with the free output y⁻ and the target t."""

    @abc.abstractmethod
    def error(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Output:
        """Returns the error e of the output y⁻ + Δy."""

    @abc.abstractmethod
    def curvature(
        self, loss: AbstractLoss, output: Output, reference: PyTree[Array]
    ) -> Float[Array, "outputs outputs"]:
        """Returns −∂e/∂y, positive semidefinite."""

    @abc.abstractmethod
    def trusted_step(self, loss: AbstractLoss, change: Output) -> Scalar:
        """Returns the share of a Newton step that is safe, given the step's change of output."""

    @abc.abstractmethod
    def magnitude(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Scalar:
        """Returns the size of the numbers that e is a difference of; its rounding follows them."""


class Nudged(AbstractTeaching):
    """The output is held a little closer to the target: e = y⁻ − λ∇_yL(y⁻, t) − y.

    (arXiv 2106.07887, equation 4.) L is one sample's loss; the squared error here is ½‖y − t‖²,
    where the papers' code takes the mean over the n outputs: its λ is n/2 times ours there.

    **Arguments:** `step`, the nudging step λ ≥ 0; with 0 the free output is held.

    **Raises:** `ValueError` for a step that is negative or not finite.
    """

    step: float = eqx.field(static=True)

    def __check_init__(self):
        if not 0 <= self.step < math.inf:
            raise ValueError(
                f"`step` is {self.step}, but the output is nudged by a finite step of at least 0: "
                "write Nudged(0.1)."
            )

    def check(self, loss: AbstractLoss, targets: PyTree[Array]) -> None:
        """Accepts all targets: a step towards any of them ends at an output that is finite."""

    def reference(self, loss: AbstractLoss, free: Output, target: PyTree[Array]) -> Output:
        return -self.step * loss.gradient(free, target)

    def error(self, loss: AbstractLoss, free: Output, change: Output, reference: Output) -> Output:
        del loss, free
        return reference - change

    def trusted_step(self, loss: AbstractLoss, change: Output) -> Scalar:
        """Returns one: the error is linear in the output."""
        del loss
        return jnp.ones((), change.dtype)

    def magnitude(
        self, loss: AbstractLoss, free: Output, change: Output, reference: Output
    ) -> Scalar:
        del loss, free
        return norm(reference) + norm(change)

    def curvature(
        self, loss: AbstractLoss, output: Output, reference: Output
    ) -> Float[Array, "outputs outputs"]:
        del loss, reference
        return jnp.eye(output.size, dtype=output.dtype)


class AbstractTargetTeaching(AbstractTeaching):
    """A teaching whose reference is the target: for labels, their soft probabilities."""

    def check(self, loss: AbstractLoss, targets: PyTree[Array]) -> None:
        """Raises `ValueError` for labels without softness."""
        if (
            isinstance(loss, CrossEntropy)
            and loss.softness == 0
            and jnp.issubdtype(targets.dtype, jnp.integer)
        ):
            raise ValueError(
                "Strong feedback drives the output to its target, and no finite output has the "
                "probability 1 of a hard label: write CrossEntropy(softness=0.01)."
            )

    def reference(self, loss: AbstractLoss, free: Output, target: PyTree[Array]) -> PyTree[Array]:
        if isinstance(loss, CrossEntropy):
            return loss.probabilities(target, free.size, free.dtype)
        return target


class Strong(AbstractTargetTeaching):
    """The output is driven to the target itself: e = −∇_yL(y, t).

    (arXiv 2204.07249.) For the cross-entropy e = t − softmax(y), for the squared error e = t − y. A
    hard label is a target that no finite output has, so labels have to be soft.
    """

    def error(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Output:
        return -loss.gradient(free + change, reference)

    def trusted_step(self, loss: AbstractLoss, change: Output) -> Scalar:
        return loss.trusted_step(change)

    def magnitude(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Scalar:
        output = free + change
        return (1 + norm(output)) * loss.laplacian(output, reference)

    def curvature(
        self, loss: AbstractLoss, output: Output, reference: PyTree[Array]
    ) -> Float[Array, "outputs outputs"]:
        return loss.hessian(output, reference)


class LabelDifference(AbstractTargetTeaching):
    """The output itself is driven to the vector of target probabilities: e = t − y.

    What the authors' code uses while feedback weights are trained before the others; with the
    squared error it is `Strong`.
    """

    def error(self, loss: AbstractLoss, free: Output, change: Output, reference: Output) -> Output:
        del loss
        return reference - (free + change)

    def trusted_step(self, loss: AbstractLoss, change: Output) -> Scalar:
        """Returns one: the error is linear in the output."""
        del loss
        return jnp.ones((), change.dtype)

    def magnitude(
        self, loss: AbstractLoss, free: Output, change: Output, reference: Output
    ) -> Scalar:
        del loss
        return norm(reference) + norm(free + change)

    def curvature(
        self, loss: AbstractLoss, output: Output, reference: Output
    ) -> Float[Array, "outputs outputs"]:
        del loss, reference
        return jnp.eye(output.size, dtype=output.dtype)
