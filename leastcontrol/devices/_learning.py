"""Learning on a device, from measurements alone.

A rule settles a batch and finds a direction (`_rule`). Adam turns that into a change of the
weights, which is written as far as the device can; what a write is too coarse for is kept on the
host until it is large enough. After every epoch the device is measured twice on the validation
samples, and judged.
"""

import dataclasses
import math
import time

import numpy as np
from jaxtyping import Float, Int

from ._certificate import Watch, judge
from ._device import AbstractDevice, DeviceError, Weights
from ._metrics import DeviceMetrics, classified, settle_twice, soft_targets
from ._rule import AbstractDeviceRule, Bench, DeviceBatch
from ._trained import TrainedDevice

FIRST_MOMENT, SECOND_MOMENT, ADAM_EPSILON = 0.9, 0.999, 1e-8
LAST_RATE = 0.01
"""Part of the learning rate that is left in the last step, after half a cosine."""


@dataclasses.dataclass(frozen=True)
class DeviceTraining:
    """How a device is trained.

    **Arguments:**

    * `epochs`, `batch_size`: passes over the samples, and samples that are settled at a time.
    * `learning_rate`: of Adam, in the device's unit of a weight.
    * `softness`: probability that the target takes from the class.

    **Raises:** `ValueError` for a value out of range.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 3e-3
    softness: float = 0.0

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"The training was given epochs={self.epochs} and batch_size={self.batch_size}, "
                "but both are at least 1: write DeviceTraining(epochs=30, batch_size=64)."
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"`learning_rate` is {self.learning_rate}, but it is finite and above 0: write "
                "DeviceTraining(learning_rate=1e-3)."
            )
        if not 0 <= self.softness < 1:
            raise ValueError(
                f"`softness` is {self.softness}, but it is at least 0 and below 1: write "
                "DeviceTraining(softness=0.05)."
            )


class DeviceLearner:
    """Trains a device, an epoch at a time.

    **Arguments:**

    * `device`: what is trained.
    * `rule`: finds out how the weights are to change.
    * `training`: how long, and in which steps.
    * `inputs`, `labels`: the samples to learn from, the labels from 0.
    * `seed`: of the order of the samples and of the perturbations.

    **Raises:** `DeviceError` for a device whose description does not fit the samples.
    """

    def __init__(
        self,
        device: AbstractDevice,
        rule: AbstractDeviceRule,
        training: DeviceTraining,
        inputs: Float[np.ndarray, "samples inputs"],
        labels: Int[np.ndarray, " samples"],
        *,
        seed: int,
    ):
        self.description = description = device.describe()
        classes = int(labels.max()) + 1
        if inputs.shape[1] != description.inputs or classes > description.outputs:
            raise DeviceError(
                f"The samples have {inputs.shape[1]} inputs and {classes} classes, but the device "
                f"has {description.inputs} inputs and {description.outputs} outputs: give the "
                "device as many, or other samples."
            )
        if not description.connections:
            raise DeviceError(
                "The device has no weights that can be written, so that nothing can learn: "
                "describe its connections."
            )
        self._device, self._rule, self._training = device, rule, training
        self._inputs, self._labels, self._seed = inputs.astype(np.float64), labels, seed

    def go_on(self, trained: TrainedDevice) -> None:
        """Writes the weights of a training to a device that holds others by now."""
        now = self._device.read()
        changes = {name: weight - now[name] for name, weight in trained.weights.items()}
        if any(np.any(change) for change in changes.values()):
            self._device.write(changes)

    def epoch(
        self,
        trained: TrainedDevice,
        inputs: Float[np.ndarray, "validation inputs"],
        labels: Int[np.ndarray, " validation"],
    ) -> TrainedDevice:
        """Trains for an epoch, and measures the device on validation samples.

        **Raises:** `DeviceError` if the device cannot be reached, or measures what it should not.
        """
        began, number = time.perf_counter(), len(trained.metrics) + 1
        random = np.random.default_rng([self._seed, 3, number])
        size = min(self._training.batch_size, len(self._labels))
        order = random.permutation(len(self._labels))
        watch, figures = Watch(self.description), []
        if not trained.metrics:
            trained = self._begun(trained, order[:size], watch)
        for first in range(0, len(order) - size + 1, size):
            chosen = order[first : first + size]
            trained, step = self._step(trained, chosen, random, watch)
            figures.append(step)
        means = np.mean(figures, axis=0)
        trained, write_error = self._read_back(trained)
        first, second = settle_twice(self._device, inputs)
        certificate, _ = judge(first, second, np.zeros(len(labels), bool))
        metrics = DeviceMetrics(
            epoch=number,
            settles=trained.settles,
            loss=float(means[0]),
            control_energy=float(means[1]),
            remaining_error=float(means[2]),
            saturated_fraction=float(means[3]),
            converged_fraction=certificate.counts["settled"] / len(labels),
            residual_max=certificate.disagreement,
            steps_mean=float(means[4]),
            noise_floor=certificate.noise_floor,
            drift=certificate.drift,
            write_error=write_error,
            results=certificate.counts,
            faults=watch.faults(),
            validation=classified(first.output, labels),
            diagnostics={
                "response": {
                    population.name: float(
                        np.linalg.norm(
                            trained.responses.output[:, self.description.part(population.name)]
                        )
                    )
                    for population in self.description.populations
                }
            },
            seconds=time.perf_counter() - began,
        )
        return dataclasses.replace(trained, metrics=(*trained.metrics, metrics))

    def _begun(self, trained: TrainedDevice, chosen: np.ndarray, watch: Watch) -> TrainedDevice:
        bench = Bench(self._device, watch)
        responses = self._rule.first_responses(bench, trained.weights, self._inputs[chosen])
        return dataclasses.replace(trained, responses=responses, settles=bench.settles)

    def _step(
        self, trained: TrainedDevice, chosen: np.ndarray, random: np.random.Generator, watch: Watch
    ) -> tuple[TrainedDevice, tuple[float, ...]]:
        labels, bench = self._labels[chosen], Bench(self._device, watch)
        targets = soft_targets(labels, self.description.outputs, self._training.softness)
        batch = DeviceBatch(self._inputs[chosen], targets)
        outcome = self._rule.step(bench, trained.weights, trained.responses, batch, random)
        settles = trained.settles + bench.settles
        trained = dataclasses.replace(trained, responses=outcome.responses, settles=settles)
        figures = (
            classified(outcome.output, labels).nll,
            float(np.mean(outcome.control_energy)),
            float(np.mean(outcome.remaining)),
            float(np.mean(outcome.saturated)),
            float(bench.settles),
        )
        return self._written(trained, outcome.direction), figures

    def _rate(self, step: int) -> float:
        batches = max(1, len(self._labels) // self._training.batch_size)
        done = min(1.0, step / (self._training.epochs * batches))
        cosine = (1 + math.cos(math.pi * done)) / 2
        return self._training.learning_rate * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def _written(self, trained: TrainedDevice, direction: Weights) -> TrainedDevice:
        """Writes Adam's step, as far as the device can, and keeps the rest for later."""
        step, rate = trained.steps + 1, self._rate(trained.steps + 1)
        weights, first, second, remainder, changes = {}, {}, {}, {}, {}
        for connection in self.description.connections:
            name = connection.name
            slope = direction[name]
            first[name] = FIRST_MOMENT * trained.first[name] + (1 - FIRST_MOMENT) * slope
            second[name] = SECOND_MOMENT * trained.second[name] + (1 - SECOND_MOMENT) * slope**2
            mean = first[name] / (1 - FIRST_MOMENT**step)
            square = second[name] / (1 - SECOND_MOMENT**step)
            wanted = trained.remainder[name] + rate * mean / (np.sqrt(square) + ADAM_EPSILON)
            change = wanted
            if connection.step is not None:
                change = np.round(wanted / connection.step) * connection.step
            remainder[name] = wanted - change
            if connection.limit is not None:
                now = trained.weights[name]
                change = np.clip(now + change, -connection.limit, connection.limit) - now
            changes[name] = change
            weights[name] = trained.weights[name] + change
        self._device.write(changes)
        return dataclasses.replace(
            trained, weights=weights, first=first, second=second, remainder=remainder, steps=step
        )

    def _read_back(self, trained: TrainedDevice) -> tuple[TrainedDevice, float]:
        """Compares the weights with those that are meant, and believes the device."""
        read = self._device.read()
        size = math.sqrt(sum(float(np.sum(weight**2)) for weight in trained.weights.values()))
        error = math.sqrt(
            sum(float(np.sum((read[n] - weight) ** 2)) for n, weight in trained.weights.items())
        )
        return dataclasses.replace(trained, weights=read), error / size if size > 0 else 0.0
