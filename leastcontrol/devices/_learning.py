"""Learning on a device, from measured states and applied controls alone.

A step settles a batch under controls ±ε, from which the free output and the responses are known,
and then under the control of the output. The weights of a connection change by

    Δw ∝ ψ behind × activity before,

averaged over the batch: ψ is the control that was applied to the neuron, less where the neuron was
measured to be near its saturation, and of the sign in which its line was measured to act. Adam
turns that into a change; what a write is too coarse for is kept on the host until it is large
enough. Random feedback learns with the same settles.
"""

import dataclasses
import math
import time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ._certificate import CERTAIN, Watch, judge
from ._device import (
    AbstractDevice,
    Description,
    DeviceError,
    Measurement,
    Weights,
    check_measurement,
)
from ._feedback import AbstractDeviceFeedback
from ._output_control import AbstractOutputDrive, Proportional
from ._responses import Responses

FIRST_MOMENT, SECOND_MOMENT, ADAM_EPSILON = 0.9, 0.999, 1e-8
EVALUATED_AT_ONCE = 512
LAST_RATE = 0.01
"""Part of the learning rate that is left in the last step, after half a cosine."""


@dataclasses.dataclass(frozen=True)
class DeviceTraining:
    """How a device is trained.

    **Arguments:**

    * `epochs`, `batch_size`: passes over the samples, and samples that are settled at a time.
    * `learning_rate`: of Adam, in the device's unit of a weight.
    * `perturbation`: ε, the control that is added to and taken from every line.
    * `wandering`: the variance that a response gains in a step; larger forgets faster.
    * `softness`: probability that the target takes from the class.
    * `drive`: the output controller.

    **Raises:** `ValueError` for a value out of range.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 3e-3
    perturbation: float = 0.2
    wandering: float = 1e-4
    softness: float = 0.0
    drive: AbstractOutputDrive = dataclasses.field(default_factory=Proportional)

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"The training was given epochs={self.epochs} and batch_size={self.batch_size}, "
                "but both are at least 1: write DeviceTraining(epochs=30, batch_size=64)."
            )
        for name in ("learning_rate", "perturbation", "wandering"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is finite and above 0: write "
                    f"DeviceTraining({name}=1e-3)."
                )
        if not 0 <= self.softness < 1:
            raise ValueError(
                f"`softness` is {self.softness}, but it is at least 0 and below 1: write "
                "DeviceTraining(softness=0.05)."
            )


@dataclasses.dataclass(frozen=True)
class DeviceEvaluation:
    """How well a device classifies, by itself and without control.

    * `accuracy`: share of the samples whose output was largest at their class, in one settle.
    * `nll`: mean negative logarithm of the probability of the class.
    * `samples`: their number.
    """

    accuracy: float
    nll: float
    samples: int


@dataclasses.dataclass(frozen=True)
class DeviceMetrics:
    """The figures of an epoch on a device.

    * `epoch`: its number, from 1.
    * `settles`: the batches that were settled to learn, in all epochs so far.
    * `loss`: mean cross-entropy of the free output, in nats.
    * `control_energy`: mean of ½‖ψ‖².
    * `remaining_error`: mean of ‖e‖ under control, as a part of ‖e‖ without.
    * `saturated_fraction`: share of samples with a control line at its limit.
    * `converged_fraction`: share of the validation samples with the result `settled`.
    * `residual_max`: largest difference of two settles of a sample, in noise floors.
    * `steps_mean`: settles of a step.
    * `noise_floor`, `drift`: as in `Certificate`.
    * `write_error`: ‖read − intended‖ / ‖intended‖ of the weights.
    * `results`: number of validation samples of each result.
    * `faults`: sentences that name what is wrong.
    * `validation`: on the device.
    * `diagnostics`: by name and population; `response`, the norm of the measured response.
    * `seconds`: of the epoch.
    """

    epoch: int
    settles: int
    loss: float
    control_energy: float
    remaining_error: float
    saturated_fraction: float
    converged_fraction: float
    residual_max: float
    steps_mean: float
    noise_floor: float
    drift: float
    write_error: float
    results: dict[str, int]
    faults: tuple[str, ...]
    validation: DeviceEvaluation
    diagnostics: dict[str, dict[str, float]]
    seconds: float


@dataclasses.dataclass(frozen=True)
class TrainedDevice:
    """What a training on a device leaves on the host, from which it can go on.

    * `weights`: as they are meant to be on the device.
    * `first`, `second`: Adam's moments.
    * `remainder`: changes that were too small for a write.
    * `responses`: what is known of the responses.
    * `steps`, `settles`: so far.
    * `metrics`: of the epochs so far.
    """

    weights: Weights
    first: Weights
    second: Weights
    remainder: Weights
    responses: Responses
    steps: int
    settles: int
    metrics: tuple[DeviceMetrics, ...] = ()

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
        )

    def restored(self, kept: Any, rows: list[dict[str, Any]]) -> "TrainedDevice":
        """Makes the same from arrays that were kept and from figures as JSON has them."""
        weights, first, second, remainder, responses, counts = _in_numpy(kept)
        steps, settles = (int(count) for count in counts)
        metrics = tuple(_metrics(row) for row in rows)
        known = Responses(*responses)
        return TrainedDevice(weights, first, second, remainder, known, steps, settles, metrics)


class DeviceLearner:
    """Trains a device, an epoch at a time.

    **Arguments:**

    * `device`: what is trained.
    * `feedback`: from the measured responses to the feedback weights.
    * `training`: how.
    * `inputs`, `labels`: the samples to learn from, the labels from 0.
    * `seed`: of the order of the samples and of the perturbations.

    **Raises:** `DeviceError` for a device whose description does not fit the samples.
    """

    def __init__(
        self,
        device: AbstractDevice,
        feedback: AbstractDeviceFeedback,
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
        self._device, self._feedback, self._training = device, feedback, training
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
        for first in range(0, len(order) - size + 1, size):
            chosen = order[first : first + size]
            trained, step = self._step(trained, chosen, random, watch)
            figures.append(step)
        means = np.mean(figures, axis=0)
        trained, write_error = self._read_back(trained)
        pair = [self._settle_all(inputs) for _ in range(2)]
        certificate, _ = judge(pair[0], pair[1], np.zeros(len(labels), bool))
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
            validation=classified(pair[0].output, labels),
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

    def _settle(self, inputs: np.ndarray, control: np.ndarray, watch: Watch) -> Measurement:
        measured = self._device.settle(inputs, control)
        check_measurement(self.description, len(inputs), measured)
        watch.add(measured)
        return measured

    def _settle_all(self, inputs: np.ndarray) -> Measurement:
        return settle_all(self._device, inputs)

    def _step(
        self, trained: TrainedDevice, chosen: np.ndarray, random: np.random.Generator, watch: Watch
    ) -> tuple[TrainedDevice, tuple[float, ...]]:
        training, description = self._training, self.description
        inputs, labels = self._inputs[chosen], self._labels[chosen]
        targets = soft_targets(labels, description.outputs, training.softness)
        limit = description.control_limit
        amplitude = training.perturbation if limit is None else min(training.perturbation, limit)
        signs = random.choice([-1.0, 1.0], size=(len(chosen), description.neurons))
        perturbation = amplitude * signs
        plus = self._settle(inputs, perturbation, watch)
        minus = self._settle(inputs, -perturbation, watch)
        watch.add_pair(perturbation, plus, minus)
        responses = trained.responses.updated(perturbation, plus, minus, training.wandering)
        free = (plus.output + minus.output) / 2
        feedback = self._feedback.weights(description, responses)
        settles = 2

        def settle(control: np.ndarray) -> Measurement:
            nonlocal settles
            settles += 1
            return self._settle(inputs, control, watch)

        driven = training.drive.drive(settle, free, targets, feedback, limit)
        direction = local_updates(
            description, responses, inputs, driven.measured.state, driven.control
        )
        trained = self._written(
            dataclasses.replace(trained, responses=responses, settles=trained.settles + settles),
            direction,
        )
        figures = (
            classified(free, labels).nll,
            float(np.mean(np.sum(driven.control**2, axis=1)) / 2),
            float(np.mean(driven.remaining)),
            float(np.mean(driven.saturated)),
            float(settles),
        )
        return trained, figures

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


def local_updates(
    description: Description,
    responses: Responses,
    inputs: Float[np.ndarray, "batch inputs"],
    state: Float[np.ndarray, "batch neurons"],
    control: Float[np.ndarray, "batch neurons"],
) -> Weights:
    """Computes control behind × activity before for every connection, the mean over a batch.

    The update of a weight reads the control of the neuron after it, that neuron's activity and the
    sign in which its line acts, and the activity before it. Readings that are not finite count as
    zero.
    """
    state = np.nan_to_num(state, nan=0.0, posinf=0.0, neginf=0.0)
    behind = control * line_signs(responses)
    for population in description.populations:
        if population.saturation is not None:
            part, (low, high) = description.part(population.name), population.saturation
            room = (high - state[:, part]) * (state[:, part] - low)
            behind[:, part] *= np.clip(4 * room / (high - low) ** 2, 0.0, 1.0)
    return {
        connection.name: behind[:, description.part(connection.after)].T
        @ description.before(connection, inputs, state)
        / len(inputs)
        for connection in description.connections
    }


def line_signs(responses: Responses) -> Float[np.ndarray, " neurons"]:
    """Finds the signs of the control lines: −1 where one certainly moves its neuron backwards."""
    neurons = len(responses.covariance)
    response = np.diag(responses.state)
    deviation = np.diag(responses.deviation()[:neurons])
    return np.where(response < -CERTAIN * deviation, -1.0, 1.0)


def soft_targets(
    labels: Int[np.ndarray, " batch"], classes: int, softness: float
) -> Float[np.ndarray, "batch classes"]:
    """Makes probabilities: 1 − ε for the class, and ε shared by the others."""
    targets = np.full((len(labels), classes), softness / max(classes - 1, 1))
    targets[np.arange(len(labels)), labels] = 1 - softness
    return targets


def settle_all(device: AbstractDevice, inputs: Float[np.ndarray, "samples inputs"]) -> Measurement:
    """Settles samples without control, some hundreds at a time."""
    description, parts = device.describe(), []
    for first in range(0, len(inputs), EVALUATED_AT_ONCE):
        part = np.asarray(inputs[first : first + EVALUATED_AT_ONCE], np.float64)
        measured = device.settle(part, np.zeros((len(part), description.neurons)))
        check_measurement(description, len(part), measured)
        parts.append(measured)
    states, outputs = zip(*parts, strict=True)
    return Measurement(np.concatenate(states), np.concatenate(outputs))


def classified(
    output: Float[np.ndarray, "samples outputs"], labels: Int[np.ndarray, " samples"]
) -> DeviceEvaluation:
    """Computes accuracy and loss of outputs; one that is not finite is wrong."""
    finite = np.all(np.isfinite(output), axis=1)
    known = np.where(finite[:, None], output, 0.0)
    right = finite & (known.argmax(axis=1) == labels)
    highest = known.max(axis=1, keepdims=True)
    total = np.log(np.sum(np.exp(known - highest), axis=1)) + highest[:, 0]
    nll = np.where(finite, total - known[np.arange(len(labels)), labels], np.nan)
    return DeviceEvaluation(float(np.mean(right)), float(np.mean(nll)), len(labels))


def _in_numpy(kept: Any) -> Any:
    if isinstance(kept, dict):
        return {name: np.asarray(value, np.float64) for name, value in kept.items()}
    if isinstance(kept, tuple | list):
        return tuple(_in_numpy(part) for part in kept)
    return np.asarray(kept, np.float64)


def _metrics(row: dict[str, Any]) -> DeviceMetrics:
    # A number that is not finite is stored as null.
    values: dict[str, Any] = {n: math.nan if v is None else v for n, v in row.items()}
    kept: dict[str, Any] = values.pop("validation")
    validation: dict[str, Any] = {n: math.nan if v is None else v for n, v in kept.items()}
    faults = tuple(values.pop("faults"))
    return DeviceMetrics(validation=DeviceEvaluation(**validation), faults=faults, **values)
