"""Physics-aware training: forward by the device, backward by a twin."""

import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float

from ._device import Description, Weights
from ._output_control import output_error
from ._responses import Responses
from ._rule import AbstractDeviceRule, Bench, DeviceBatch, Outcome, outcome_without_control
from ._twins import AbstractTwin


@final
@dataclasses.dataclass(frozen=True)
class PhysicsAwareRule(AbstractDeviceRule):
    """The gradient of a twin at the states and the error that the device measured.

    One settle a step, without control. Wright et al., Deep physical neural networks trained with
    backpropagation, Nature 601 (2022), https://arxiv.org/abs/2104.13386.

    **Arguments:** `twin`.
    """

    twin: AbstractTwin

    @property
    def settles(self) -> int:
        return 1

    def first_responses(
        self, bench: Bench, weights: Weights, inputs: Float[np.ndarray, "batch inputs"]
    ) -> Responses:
        del weights, inputs
        return Responses.unknown(bench.description.neurons, bench.description.outputs)

    def feedback_weights(self, description: Description, responses: Responses) -> None:
        del description, responses

    def step(
        self,
        bench: Bench,
        weights: Weights,
        responses: Responses,
        batch: DeviceBatch,
        random: np.random.Generator,
    ) -> Outcome:
        del random
        measured = bench.settle_free(batch.inputs)
        cotangent = np.zeros_like(measured.state)
        outputs = bench.description.outputs
        cotangent[:, -outputs:] = output_error(measured.output, batch.targets)
        direction = self.twin.gradient(weights, batch.inputs, measured.state, cotangent)
        return outcome_without_control(direction, responses, measured.output)
