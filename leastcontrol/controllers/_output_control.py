"""Output controllers, which turn the output error into the output control u.

They have different dynamics. At rest each satisfies αu + ∇_yL = 0 with an effective leak α
(arXiv 2207.01332, section 2.2 and section S2.3). A **fixed leak** is the same for all samples. A
**relative leak** is measured for each sample before it is solved, in units of the gain of its
output, so that one number asks for the same strength at every depth and stage of training
(`docs/derivations/relative-leak.md`).
"""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..equilibrium import ControlProblem, Sample, free_gain
from ..losses import AbstractLoss
from ..systems import AbstractSystem

Output = Float[Array, " outputs"]

# The smallest free loss that a leak by error is scaled by, so that no leak is zero.
SMALLEST_LOSS = 1e-6


class Asked(NamedTuple):
    """The samples of a batch, with what their output control asks of each.

    * `samples`: with leaks of their own, if these differ between samples.
    * `weights`: the factor of each sample's energy in the objective; `None` for ones.
    * `free_loss`: the loss of each sample without control, if it was measured.
    """

    samples: Sample
    weights: Float[Array, " batch"] | None = None
    free_loss: Float[Array, " batch"] | None = None


class AbstractOutputControl(eqx.Module):
    """An output controller, which has the effective leak α at rest."""

    @property
    @abc.abstractmethod
    def unlimited(self) -> bool:
        """Whether the leak is 0, which asks for as much control as the loss can use."""

    @property
    @abc.abstractmethod
    def in_loss_units(self) -> bool:
        """Whether a sample's energy is multiplied by its leak in the objective."""

    @abc.abstractmethod
    def problem(self, system: AbstractSystem, loss: AbstractLoss) -> ControlProblem:
        """Builds the control problem of a system and a loss."""

    @abc.abstractmethod
    def ask(self, problem: ControlProblem, samples: Sample) -> Asked:
        """Gives the samples of a batch their leaks."""


class AbstractFixedLeak(AbstractOutputControl):
    """An output controller with an internal state u_I in the shape of the output, and one leak."""

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

    @property
    def unlimited(self) -> bool:
        """Whether the leak is 0."""
        return self.leak == 0

    @property
    def in_loss_units(self) -> bool:
        """False: the objective is the energy, of which the loss is a part as L/α."""
        return False

    def problem(self, system: AbstractSystem, loss: AbstractLoss) -> ControlProblem:
        """Builds the control problem with the leak for all samples."""
        return ControlProblem(system, loss, self.leak)

    def ask(self, problem: ControlProblem, samples: Sample) -> Asked:
        """Returns the samples unchanged."""
        del problem
        return Asked(samples)


class LeakyIntegral(AbstractFixedLeak):
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


class Proportional(AbstractFixedLeak):
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


class RelativeLeak(AbstractOutputControl):
    """αu + ∇_yL = 0 with a leak in units of each sample's gain, α = κ (γ + ‖(∂y/∂ψ)ᵀe‖²/‖e‖²).

    The gain is measured along e = ∇_yL at the free equilibrium, and is a constant for the solve and
    for the gradient. A control removes about the share 1 − (κ/(κ + 1))² of a quadratic loss,
    whatever the depth, the width and the size of the weights. A rule multiplies a sample's energy
    by its leak, so its objective is

        αF = L + ½α(‖ψ‖² + ‖u‖²),

    the loss after control and the price of the control, which is the free loss for κ → ∞.
    `docs/derivations/relative-leak.md` derives its gradient.

    **Arguments:**

    * `kappa`: κ > 0. A training that is asked for a share of the loss sets it in every step.
    * `by_error`: whether κ is multiplied by the free loss of a sample, so that the strength of
      control rises as the error falls. The cross-entropy of samples that are nearly fitted then
      loses about the same share of all; with a constant κ the share falls with the loss.

    **Raises:** `ValueError` if κ is not positive and finite.
    """

    kappa: float | Float[Array, ""]
    by_error: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if isinstance(self.kappa, int | float) and not 0 < self.kappa < math.inf:
            raise ValueError(
                f"`kappa` is {self.kappa}, but a relative leak is above 0 and finite: write "
                "RelativeLeak(1.0)."
            )

    @property
    def unlimited(self) -> bool:
        """False: a relative leak is above 0."""
        return False

    @property
    def in_loss_units(self) -> bool:
        """True: the objective is αF, of which the loss is a part as L."""
        return True

    def problem(self, system: AbstractSystem, loss: AbstractLoss) -> ControlProblem:
        """Builds the control problem, whose samples must have leaks of their own."""
        return ControlProblem(system, loss, math.nan)

    def ask(self, problem: ControlProblem, samples: Sample) -> Asked:
        """Measures the gain and the free loss of each sample, and gives it its leak."""
        free = free_gain(problem, samples)
        scale = jnp.maximum(free.loss, SMALLEST_LOSS) if self.by_error else 1.0
        # A sample that no control can move has no gain, and any leak will do.
        leak = self.kappa * scale * jnp.where(free.gain > 0, free.gain, 1)
        leak = leak.astype(free.loss.dtype)
        samples = samples._replace(leak=leak)
        if samples.start is None:
            samples = samples._replace(start=free.start(problem, samples))
        return Asked(samples, leak, free.loss)


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
    return leak if isinstance(leak, AbstractOutputControl) else as_fixed_leak(leak)


def as_fixed_leak(leak: float | int | AbstractFixedLeak) -> AbstractFixedLeak:
    """Converts a leak into a `LeakyIntegral`; returns an output controller with one unchanged.

    **Raises:** `ValueError` for anything else.
    """
    if isinstance(leak, AbstractFixedLeak):
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
