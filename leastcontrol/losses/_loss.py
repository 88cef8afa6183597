"""What every loss of one sample offers to the controllers."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree

Output = Float[Array, " outputs"]
Scalar = Float[Array, ""]
Number = float | Scalar

RESPONSE_ITERATIONS = 2
"""Default number of Newton steps for the response of the cross-entropy.

Newton's method converges quadratically once within a unit of the solution. A solver computes the
response in every step and starts from the previous one, so few steps suffice.
"""


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
