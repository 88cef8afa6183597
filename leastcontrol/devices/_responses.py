"""What a device answers to its control lines, learned from perturbations that are applied.

A batch is settled twice, under controls that differ by 2ε with a random sign for every line and
sample. Half the difference of the measurements is Mε plus noise: M holds the responses of the state
and of the output to every line, a mean over the operating points. M is followed by a Kalman filter,

    K = PEᵀ (EPEᵀ + rI)⁻¹,   M ← M + (K(D − EMᵀ))ᵀ,   P ← (I − KE)P + qI,

whose rows E are the perturbations of a batch, D the half differences and r the variance of what M
does not explain, at least that of the measurement. So the step knows the noise, and averages as
long as q, by which a response is expected to wander, allows.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ._device import Measurement

SMALLEST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Responses:
    """The responses M of state and output to the control lines, and what is not known of them.

    * `mean`: M; the rows of the state, then those of the output.
    * `covariance`: P, which all rows share.
    * `variance`: r, the smoothed variance of what M does not explain, for each row.
    """

    mean: Float[np.ndarray, "measured neurons"]
    covariance: Float[np.ndarray, "neurons neurons"]
    variance: Float[np.ndarray, " measured"]

    @staticmethod
    def unknown(neurons: int, outputs: int) -> "Responses":
        """Makes responses of which nothing is known: zero, with a deviation of 1."""
        rows = neurons + outputs
        return Responses(np.zeros((rows, neurons)), np.eye(neurons), np.zeros(rows))

    @property
    def output(self) -> Float[np.ndarray, "outputs neurons"]:
        """The responses of the output."""
        return self.mean[len(self.covariance) :]

    @property
    def state(self) -> Float[np.ndarray, "neurons neurons"]:
        """The responses of the state; its diagonal is what a line does to its own neuron."""
        return self.mean[: len(self.covariance)]

    def deviation(self) -> Float[np.ndarray, "measured neurons"]:
        """Computes the standard deviation of the error of every response."""
        return np.sqrt(np.outer(self.variance, np.diag(self.covariance)) / self._scale())

    def updated(
        self,
        perturbation: Float[np.ndarray, "batch neurons"],
        plus: Measurement,
        minus: Measurement,
        wandering: float,
    ) -> "Responses":
        """Computes the responses after a pair of measurements under controls ±ε about the same.

        **Arguments:**

        * `perturbation`: ε.
        * `plus`, `minus`: what was measured under them. What is not finite teaches nothing.
        * `wandering`: q, the variance that a response gains from one update to the next.
        """
        upper, lower = (np.concatenate(part, axis=1) for part in (plus, minus))
        surprise = (upper - lower) / 2 - perturbation @ self.mean.T
        surprise = np.where(np.isfinite(surprise), surprise, 0.0)
        seen = np.mean(surprise**2, axis=0)
        variance = np.where(self.variance > 0, 0.9 * self.variance + 0.1 * seen, seen)
        outputs = len(self.mean) - len(self.covariance)
        scale = max(float(np.mean(variance[-outputs:])), SMALLEST_VARIANCE)
        pulled = perturbation @ self.covariance
        between = pulled @ perturbation.T + scale * np.eye(len(perturbation))
        gain = np.linalg.solve(between, pulled).T
        covariance = self.covariance - gain @ pulled
        covariance = (covariance + covariance.T) / 2 + wandering * np.eye(len(covariance))
        return Responses(self.mean + (gain @ surprise).T, covariance, variance)

    def _scale(self) -> float:
        outputs = len(self.mean) - len(self.covariance)
        return max(float(np.mean(self.variance[-outputs:])), SMALLEST_VARIANCE)
