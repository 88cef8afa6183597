"""Physics-aware training: forward by the device, backward by a twin."""

import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float

from ._device import Weights
from ._output_control import output_error
from ._rule import AbstractRuleWithoutControl, Bench, DeviceBatch
from ._twins import AbstractTwin


@final
@dataclasses.dataclass(frozen=True)
class PhysicsAwareRule(AbstractRuleWithoutControl):
    """The gradient of a twin at the states and the error that the device measured.

    One settle a step, without control. Wright et al., Deep physical neural networks trained with
    backpropagation, Nature 601 (2022), https://arxiv.org/abs/2104.13386.

    **Arguments:** `twin`.
    """

    twin: AbstractTwin

    @property
    def settles(self) -> int:
        return 1

    def _direction(
        self, bench: Bench, weights: Weights, batch: DeviceBatch, random: np.random.Generator
    ) -> tuple[Weights, Float[np.ndarray, "batch outputs"]]:
        del random
        measured = bench.settle_free(batch.inputs)
        cotangent = np.zeros_like(measured.state)
        outputs = bench.description.outputs
        cotangent[:, -outputs:] = output_error(measured.output, batch.targets)
        direction = self.twin.gradient(weights, batch.inputs, measured.state, cotangent)
        return direction, measured.output
