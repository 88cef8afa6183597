"""Feedback weights, from the output to the control lines, for a device whose weights are unknown.

`LearnedFeedback` follows the responses that were measured: Q = Mᵀ, scaled so that the output
answers to u with a mean gain of 1. Its columns then span the row space of the mean response, which
is the condition under which ψ = Qu is the least control. `RandomFeedback` stays as it was drawn;
learning with it is direct feedback alignment on the device.
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
