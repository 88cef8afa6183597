"""What a rule of a device is asked for, and the bench on which it measures.

A rule settles a batch as often as it needs and returns a direction in which the weights are to
change. It knows the description, the weights as they were written and what was measured; whatever
else it uses, a twin, say, is a part of the rule.
"""

import abc
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float

from ._certificate import Watch
from ._device import AbstractDevice, Description, Measurement, Weights, checked
from ._responses import Responses


class DeviceBatch(NamedTuple):
    """Samples that are settled together.

    * `inputs`: of shape `(batch, inputs)`.
    * `targets`: probabilities of the classes.
    """

    inputs: Float[np.ndarray, "batch inputs"]
    targets: Float[np.ndarray, "batch outputs"]


class Outcome(NamedTuple):
    """What a rule found out in a step.

    * `direction`: in which the loss falls, for the weights of each connection.
    * `responses`: what is known of the responses by now.
    * `output`: measured without control, from which the loss is known.
    * `control_energy`: ½‖ψ‖² of each sample.
    * `remaining`: ‖e‖ under control divided by ‖e‖ without; 1 where nothing was controlled.
    * `saturated`: whether a control line of a sample was at its limit.
    """

    direction: Weights
    responses: Responses
    output: Float[np.ndarray, "batch outputs"]
    control_energy: Float[np.ndarray, " batch"]
    remaining: Float[np.ndarray, " batch"]
    saturated: Float[np.ndarray, " batch"]


class Bench:
    """A device in the hands of a rule: settles are counted, and readings are watched.

    **Arguments:** `device`; `watch`, which names faults.
    """

    def __init__(self, device: AbstractDevice, watch: Watch):
        self.description = device.describe()
        self._device, self._watch = device, watch
        self.settles = 0

    def settle(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Measurement:
        """Settles a batch under a control."""
        measured = checked(self.description, len(inputs), self._device.settle(inputs, control))
        self._watch.add(measured)
        self.settles += 1
        return measured

    def settle_free(self, inputs: Float[np.ndarray, "batch inputs"]) -> Measurement:
        """Settles a batch without control."""
        return self.settle(inputs, np.zeros((len(inputs), self.description.neurons)))

    def settle_pair(
        self, inputs: Float[np.ndarray, "batch inputs"], size: float, random: np.random.Generator
    ) -> tuple[Float[np.ndarray, "batch neurons"], Measurement, Measurement]:
        """Settles a batch under controls ±ε, with a random sign for every line and sample.

        Returns ε, whose elements are ± the size or what the device allows, and the measurements.
        """
        limit = self.description.control_limit
        amplitude = size if limit is None else min(size, limit)
        signs = random.choice([-1.0, 1.0], size=(len(inputs), self.description.neurons))
        perturbation = amplitude * signs
        plus = self.settle(inputs, perturbation)
        minus = self.settle(inputs, -perturbation)
        self._watch.add_pair(perturbation, plus, minus)
        return perturbation, plus, minus

    def write(self, changes: Weights) -> None:
        """Changes the weights, which the rule changes back."""
        self._device.write(changes)


class AbstractDeviceRule(abc.ABC):
    """Finds out by measurements how the weights of a device are to change."""

    @property
    @abc.abstractmethod
    def settles(self) -> int:
        """The largest number of settles in a step."""

    @abc.abstractmethod
    def first_responses(
        self, bench: Bench, weights: Weights, inputs: Float[np.ndarray, "batch inputs"]
    ) -> Responses:
        """Makes what is known of the responses before the first step.

        **Arguments:** `inputs`, some samples.
        """

    @abc.abstractmethod
    def feedback_weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"] | None:
        """Computes the feedback weights that the rule uses by now; `None` if it has none."""

    @abc.abstractmethod
    def step(
        self,
        bench: Bench,
        weights: Weights,
        responses: Responses,
        batch: DeviceBatch,
        random: np.random.Generator,
    ) -> Outcome:
        """Settles a batch and finds a direction.

        **Arguments:** `weights`, as they were written; `random`, for perturbations.
        """


class AbstractRuleWithoutControl(AbstractDeviceRule):
    """Finds a direction without driving the output; it has no feedback and learns no responses."""

    @final
    def first_responses(
        self, bench: Bench, weights: Weights, inputs: Float[np.ndarray, "batch inputs"]
    ) -> Responses:
        del weights, inputs
        return Responses.unknown(bench.description.neurons, bench.description.outputs)

    @final
    def feedback_weights(self, description: Description, responses: Responses) -> None:
        del description, responses

    @final
    def step(
        self,
        bench: Bench,
        weights: Weights,
        responses: Responses,
        batch: DeviceBatch,
        random: np.random.Generator,
    ) -> Outcome:
        direction, output = self._direction(bench, weights, batch, random)
        zero = np.zeros(len(output))
        return Outcome(direction, responses, output, zero, zero + 1, zero)

    @abc.abstractmethod
    def _direction(
        self, bench: Bench, weights: Weights, batch: DeviceBatch, random: np.random.Generator
    ) -> tuple[Weights, Float[np.ndarray, "batch outputs"]]:
        """Finds the direction, and the output without a perturbation."""
