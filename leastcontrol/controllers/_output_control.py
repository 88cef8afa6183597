"""Output controllers, which turn the output error into the output control u.

They have different dynamics. At rest each satisfies αu + ∇_yL = 0 with an effective leak α
(arXiv 2207.01332, section 2.2 and section S2.3).
"""

import abc
import math

import equinox as eqx
from jaxtyping import Array, Float

Output = Float[Array, " outputs"]


class AbstractOutputControl(eqx.Module):
    """An output controller with an internal state u_I in the shape of the output."""

    @property
    @abc.abstractmethod
    def leak(self) -> float:
        """The effective leak α at rest, for the loss of one sample."""

    @abc.abstractmethod
    def derivative(self, internal: Output, slope: Output) -> Output:
        """Computes du_I/dt from the slope ∇_yL."""

    @abc.abstractmethod
    def control(self, internal: Output, slope: Output) -> Output:
        """Computes u."""


class LeakyIntegral(AbstractOutputControl):
    """u̇_I = −∇_yL − αu_I,  u = k_i u_I − k_p ∇_yL.

    The default gains give the paper's controller u̇ = −αu − ∇_yL. The effective leak at rest is
    1 / (k_i/α + k_p), and 0 for α = 0.

    **Arguments:** `alpha` ≥ 0, the leak α; `integral_gain` k_i > 0; `proportional_gain` k_p ≥ 0.
    """

    alpha: float = eqx.field(static=True)
    integral_gain: float = eqx.field(static=True, default=1.0)
    proportional_gain: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_leak(self.alpha)
        if not 0 < self.integral_gain < math.inf or not 0 <= self.proportional_gain < math.inf:
            raise ValueError(
                f"The gains are integral_gain={self.integral_gain} and proportional_gain="
                f"{self.proportional_gain}, but the first is above 0 and the second at least 0: "
                "write LeakyIntegral(6.4, integral_gain=1.0)."
            )

    @property
    def leak(self) -> float:
        if self.alpha == 0:
            return 0.0
        return 1 / (self.integral_gain / self.alpha + self.proportional_gain)

    def derivative(self, internal: Output, slope: Output) -> Output:
        return -slope - self.alpha * internal

    def control(self, internal: Output, slope: Output) -> Output:
        return self.integral_gain * internal - self.proportional_gain * slope


class Proportional(AbstractOutputControl):
    """u = −β∇_yL, without an internal state; the effective leak is 1/β.

    **Arguments:** `beta` > 0, the control strength β.
    """

    beta: float = eqx.field(static=True)

    def __check_init__(self):
        if not 0 < self.beta < math.inf:
            raise ValueError(
                f"`beta` is {self.beta}, but the strength of proportional control is above 0 and "
                "finite: write Proportional(beta=0.15)."
            )

    @property
    def leak(self) -> float:
        return 1 / self.beta

    def derivative(self, internal: Output, slope: Output) -> Output:
        del slope
        return 0 * internal

    def control(self, internal: Output, slope: Output) -> Output:
        del internal
        return -self.beta * slope


def batch_mean_leak(alpha: float, batch_size: int) -> float:
    """Converts the paper's leak α for a batch of size B into the leak B·α for single samples.

    The code of the least-control paper takes the mean of the losses of a batch inside the
    controller, which divides the loss of a sample by the batch size B. In this library a loss is
    always that of one sample, so the paper's α = 0.1 with B = 64 is a leak of 6.4.

    **Raises:** `ValueError` for a negative or non-finite α, or a batch size below one.
    """
    check_leak(alpha)
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` is {batch_size}, but a batch has at least one sample: write "
            "batch_mean_leak(0.1, batch_size=64)."
        )
    return alpha * batch_size


def as_output_control(leak: float | int | AbstractOutputControl) -> AbstractOutputControl:
    """Converts a leak into a `LeakyIntegral`; returns an output controller unchanged."""
    if isinstance(leak, AbstractOutputControl):
        return leak
    check_leak(leak)
    return LeakyIntegral(float(leak))


def check_leak(alpha: float) -> None:
    """Raises `ValueError` if a leak is not a finite number of at least 0."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < math.inf:
        raise ValueError(
            f"The leak is {alpha!r}, but a leak α is a finite number of at least 0: write leak=6.4 "
            "(the control strength is β = 1/α)."
        )
