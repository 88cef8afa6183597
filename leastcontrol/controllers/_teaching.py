"""Teaching signals: the error that a controller reduces.

A teaching signal defines a **reference**, computed once per sample from its free output y⁻ and its
target, and the error e of an output y = y⁻ + Δy. With strong feedback the error is the negative
gradient of the loss; nudging uses a reference that is slightly better than the free output. The
output is passed as the two terms y⁻ and Δy, because nudging changes it by less than its rounding.
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
    """The reference of a sample, and the error of an output relative to it."""

    @property
    @abc.abstractmethod
    def is_nudge(self) -> bool:
        """Whether the reference is so near the free output that the network is linear up to it."""

    @abc.abstractmethod
    def check(self, loss: AbstractLoss, targets: PyTree[Array]) -> None:
        """Raises `ValueError` if the targets of a batch cannot be used."""

    @abc.abstractmethod
    def reference(self, loss: AbstractLoss, free: Output, target: PyTree[Array]) -> PyTree[Array]:
        """Computes the reference of one sample from its free output y⁻ and its target t."""

    @abc.abstractmethod
    def error(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Output:
        """Computes the error e of the output y⁻ + Δy."""

    @abc.abstractmethod
    def curvature_product(
        self, loss: AbstractLoss, output: Output, reference: PyTree[Array], change: Output
    ) -> Output:
        """Computes −∂e/∂y δy for a change δy; −∂e/∂y is positive semidefinite."""

    @abc.abstractmethod
    def trusted_step(self, loss: AbstractLoss, change: Output) -> Scalar:
        """Computes the safe fraction of a Newton step, given the step's change of the output."""

    @abc.abstractmethod
    def magnitude(
        self, loss: AbstractLoss, free: Output, change: Output, reference: PyTree[Array]
    ) -> Scalar:
        """Computes the size of the terms whose difference is e, which sets its rounding error."""


class Nudged(AbstractTeaching):
    """Nudges the output towards the target: e = y⁻ − λ∇_yL(y⁻, t) − y.

    (arXiv 2106.07887, equation 4.) L is the loss of one sample. The squared error here is
    ½‖y − t‖², whereas the papers' code takes the mean over the n outputs; its λ is n/2 times ours.

    **Arguments:** `step`, the nudging step λ ≥ 0; 0 keeps the free output.

    **Raises:** `ValueError` for a step that is negative or not finite.
    """

    step: float = eqx.field(static=True)

    def __check_init__(self):
        if not 0 <= self.step < math.inf:
            raise ValueError(
                f"`step` is {self.step}, but the output is nudged by a finite step of at least 0: "
                "write Nudged(0.1)."
            )

    @property
    def is_nudge(self) -> bool:
        return True

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

    def curvature_product(
        self, loss: AbstractLoss, output: Output, reference: Output, change: Output
    ) -> Output:
        del loss, output, reference
        return change


class AbstractTargetTeaching(AbstractTeaching):
    """A teaching signal whose reference is the target, or the soft probabilities of a label."""

    @property
    def is_nudge(self) -> bool:
        return False

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
    """Drives the output to the target: e = −∇_yL(y, t).

    (arXiv 2204.07249.) The error is e = t − softmax(y) for the cross-entropy and e = t − y for the
    squared error. Labels have to be soft, because no finite output reaches a hard label.
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

    def curvature_product(
        self, loss: AbstractLoss, output: Output, reference: PyTree[Array], change: Output
    ) -> Output:
        return loss.hessian_product(output, reference, change)


class LabelDifference(AbstractTargetTeaching):
    """Drives the output itself to the vector of target probabilities: e = t − y.

    The authors' code uses it while feedback weights are trained before the others. With the squared
    error it equals `Strong`.
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

    def curvature_product(
        self, loss: AbstractLoss, output: Output, reference: Output, change: Output
    ) -> Output:
        del loss, output, reference
        return change
