"""What a training on a device leaves on the host."""

import dataclasses
from typing import Any

import numpy as np

from ._device import AbstractDevice, DeviceError, Memory, Weights
from ._metrics import DeviceMetrics, metrics_of_json
from ._responses import Responses


@dataclasses.dataclass(frozen=True)
class TrainedDevice:
    """What a training on a device leaves on the host, from which it can go on.

    * `weights`: as they are meant to be on the device.
    * `first`, `second`: Adam's moments.
    * `remainder`: changes that were too small for a write.
    * `responses`: what is known of the responses.
    * `steps`, `settles`: so far.
    * `metrics`: of the epochs so far.
    * `memory`: what a simulated device needs to go on as it would have; empty for others.
    """

    weights: Weights
    first: Weights
    second: Weights
    remainder: Weights
    responses: Responses
    steps: int
    settles: int
    metrics: tuple[DeviceMetrics, ...] = ()
    memory: Memory = dataclasses.field(default_factory=dict)

    @staticmethod
    def untrained(device: AbstractDevice) -> "TrainedDevice":
        """Reads the weights of a device, of which nothing else is known."""
        description, weights = device.describe(), device.read()
        shapes = {each.name: description.shape(each) for each in description.connections}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise DeviceError(
                f"The device read weights of shapes { {n: w.shape for n, w in weights.items()} }, "
                f"but its description asks for {shapes}: correct read() or describe()."
            )
        zeros = {name: np.zeros(shape) for name, shape in shapes.items()}
        responses = Responses.unknown(description.neurons, description.outputs)
        return TrainedDevice(weights, zeros, zeros, zeros, responses, 0, 0)

    def kept(self) -> Any:
        """Collects the arrays that are kept."""
        counts = np.asarray([self.steps, self.settles], np.float64)
        responses = self.responses
        return (
            self.weights,
            self.first,
            self.second,
            self.remainder,
            (responses.mean, responses.covariance, responses.variance),
            counts,
            self.memory,
        )

    def restored(self, kept: Any, rows: list[dict[str, Any]]) -> "TrainedDevice":
        """Makes the same from arrays that were kept and from figures as JSON has them."""
        weights, first, second, remainder, responses, counts, memory = _in_numpy(kept)
        steps, settles = (int(count) for count in counts)
        metrics = tuple(metrics_of_json(row) for row in rows)
        known = Responses(*responses)
        return TrainedDevice(
            weights, first, second, remainder, known, steps, settles, metrics, memory
        )


def _in_numpy(kept: Any) -> Any:
    if isinstance(kept, dict):
        return {name: np.asarray(value, np.float64) for name, value in kept.items()}
    if isinstance(kept, tuple | list):
        return tuple(_in_numpy(part) for part in kept)
    return np.asarray(kept, np.float64)
