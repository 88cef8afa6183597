"""Feedback weights, from the output to the control lines, for a device whose weights are unknown.

`LearnedFeedback` follows the responses that were measured: Q = Mᵀ, scaled so that the output
answers to u with a mean gain of 1. Its columns then span the row space of the mean response, which
is the condition under which ψ = Qu is the least control. Where a line does ten times as much to its
neuron as another, M and so ψ are ten times as large there, too, and what reaches the neuron is a
hundred times as large. `BalancedFeedback` divides by what every line does to its own neuron, which
was measured as well. `RandomFeedback` stays as it was drawn; learning with it is direct feedback
alignment on the device.
"""

import abc
import dataclasses

import numpy as np
from jaxtyping import Float

from ._device import Description
from ._responses import Responses


class AbstractDeviceFeedback(abc.ABC):
    """Feedback weights of a device."""

    @abc.abstractmethod
    def weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"]:
        """Computes the feedback weights from what is known of the responses."""


@dataclasses.dataclass(frozen=True)
class LearnedFeedback(AbstractDeviceFeedback):
    """Q = Mᵀ · outputs / ‖M‖², of the measured responses M of the output."""

    def weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"]:
        response = responses.output
        square = float(np.sum(response**2))
        return response.T * (description.outputs / square if square > 0 else 0.0)


@dataclasses.dataclass(frozen=True)
class BalancedFeedback(AbstractDeviceFeedback):
    """Q = DMᵀ · outputs / tr(MDMᵀ), in which D takes the gains of the control lines out of M.

    With the measured response d of each neuron to its line and its standard deviation σ, D is
    the diagonal of |d| / (d² + σ²): the inverse of |d|, and 0 for a line of which nothing is known.
    MD is the response of the output to the activities, so ψ is in units of the neurons.
    """

    def weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"]:
        response, neurons = responses.output, description.neurons
        gains = np.diag(responses.state)
        variance = np.diag(responses.deviation()[:neurons]) ** 2
        inverse = np.abs(gains) / np.maximum(gains**2 + variance, np.finfo(np.float64).tiny)
        trace = float(np.sum(response**2 * inverse))
        return (response * inverse).T * (description.outputs / trace if trace > 0 else 0.0)


@dataclasses.dataclass(frozen=True)
class RandomFeedback(AbstractDeviceFeedback):
    """Q drawn once: normal with variance 2 / (neurons + outputs), and I for the last population.

    **Arguments:** `seed`.
    """

    seed: int = 0

    def weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"]:
        del responses
        random, outputs = np.random.default_rng([self.seed, 2]), description.outputs
        blocks = [
            random.standard_normal((population.size, outputs))
            * np.sqrt(2 / (population.size + outputs))
            for population in description.populations[:-1]
        ]
        return np.concatenate([*blocks, np.eye(outputs)])
