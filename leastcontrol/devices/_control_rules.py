"""Rules whose control reaches the neurons through feedback weights.

They settle a batch under controls ±ε, from which the responses are known, and then under the
control of the output. The weights of a connection change by

    Δw ∝ behind × activity before,

averaged over the batch. `LeastControlRule` takes for what is behind the control ψ that it applied
itself, which has no noise: less where the neuron was measured to be near its saturation, and of
the sign in which its line was measured to act. `TwoPhaseRule` takes the difference of the
activities that were measured in the two phases, as contrastive learning and equilibrium propagation
(https://arxiv.org/abs/1602.05179) do; it needs no sign of a line, and has the noise of the
readings. A device without connections backwards has no energy, so that control that reaches the
output alone, as equilibrium propagation has it, would never reach its hidden neurons: here both
rules have the same feedback weights.
"""

import abc
import dataclasses
import math
from typing import final

import numpy as np
from jaxtyping import Float

from ._device import Description, Measurement, Weights
from ._feedback import AbstractDeviceFeedback, LearnedFeedback
from ._output_control import AbstractOutputDrive, Driven, Proportional
from ._responses import Responses
from ._rule import AbstractDeviceRule, Bench, DeviceBatch, Outcome
from ._twins import AbstractTwin, twin_responses
from ._updates import finite, local_updates, outer_products

BELIEVED = 0.1
"""Deviation of a response from that of a twin, relative to the root mean square of all of them."""


@dataclasses.dataclass(frozen=True)
class AbstractControlRule(AbstractDeviceRule):
    """Drives the output through feedback weights, and learns from what that needs.

    **Arguments:**

    * `feedback`: from the measured responses to the feedback weights.
    * `drive`: the output controller.
    * `perturbation`: ε, the control that is added to and taken from every line.
    * `wandering`: the variance that a response gains in a step; larger forgets faster.
    * `twin`: whose responses are believed at first; `None` for responses of which nothing is known.

    **Raises:** `ValueError` for a value out of range.
    """

    feedback: AbstractDeviceFeedback = dataclasses.field(default_factory=LearnedFeedback)
    drive: AbstractOutputDrive = dataclasses.field(default_factory=Proportional)
    perturbation: float = 0.2
    wandering: float = 1e-4
    twin: AbstractTwin | None = None

    def __post_init__(self):
        for name in ("perturbation", "wandering"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is finite and above 0: write "
                    f"{type(self).__name__}({name}=1e-3)."
                )

    def first_responses(
        self, bench: Bench, weights: Weights, inputs: Float[np.ndarray, "batch inputs"]
    ) -> Responses:
        description = bench.description
        if self.twin is None:
            return Responses.unknown(description.neurons, description.outputs)
        return twin_responses(self.twin, bench, weights, inputs, BELIEVED)

    def feedback_weights(
        self, description: Description, responses: Responses
    ) -> Float[np.ndarray, "neurons outputs"]:
        return self.feedback.weights(description, responses)

    def step(
        self,
        bench: Bench,
        weights: Weights,
        responses: Responses,
        batch: DeviceBatch,
        random: np.random.Generator,
    ) -> Outcome:
        perturbation, plus, minus = bench.settle_pair(batch.inputs, self.perturbation, random)
        responses = responses.updated(perturbation, plus, minus, self.wandering)
        free = self._free(bench, batch, plus, minus)
        driven = self.drive.drive(
            lambda control: bench.settle(batch.inputs, control),
            free.output,
            batch.targets,
            self.feedback.weights(bench.description, responses),
            bench.description.control_limit,
        )
        return Outcome(
            self._direction(bench.description, responses, batch, free, driven),
            responses,
            free.output,
            np.sum(driven.control**2, axis=1) / 2,
            driven.remaining,
            driven.saturated.astype(float),
        )

    @abc.abstractmethod
    def _free(
        self, bench: Bench, batch: DeviceBatch, plus: Measurement, minus: Measurement
    ) -> Measurement:
        """Measures a batch without control, or computes that from what was measured under ±ε."""

    @abc.abstractmethod
    def _direction(
        self,
        description: Description,
        responses: Responses,
        batch: DeviceBatch,
        free: Measurement,
        driven: Driven,
    ) -> Weights:
        """Computes the direction from what was measured without and under control."""


@final
@dataclasses.dataclass(frozen=True)
class LeastControlRule(AbstractControlRule):
    """Δw ∝ the control behind × the activity before, under control."""

    @property
    def settles(self) -> int:
        return 2 + self.drive.settles

    def _free(
        self, bench: Bench, batch: DeviceBatch, plus: Measurement, minus: Measurement
    ) -> Measurement:
        del bench, batch
        return Measurement((plus.state + minus.state) / 2, (plus.output + minus.output) / 2)

    def _direction(
        self,
        description: Description,
        responses: Responses,
        batch: DeviceBatch,
        free: Measurement,
        driven: Driven,
    ) -> Weights:
        del free
        return local_updates(
            description, responses, batch.inputs, driven.measured.state, driven.control
        )


@final
@dataclasses.dataclass(frozen=True)
class TwoPhaseRule(AbstractControlRule):
    """Δw ∝ (activity under control − activity without) behind × the free activity before."""

    @property
    def settles(self) -> int:
        return 3 + self.drive.settles

    def _free(
        self, bench: Bench, batch: DeviceBatch, plus: Measurement, minus: Measurement
    ) -> Measurement:
        # The mean under ±ε is nearer to zero where a neuron saturates, as if control were there.
        del plus, minus
        return bench.settle_free(batch.inputs)

    def _direction(
        self,
        description: Description,
        responses: Responses,
        batch: DeviceBatch,
        free: Measurement,
        driven: Driven,
    ) -> Weights:
        del responses
        behind = driven.measured.state - free.state
        return outer_products(description, batch.inputs, finite(free.state), behind)
