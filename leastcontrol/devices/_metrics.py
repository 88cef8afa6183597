"""The figures of a training on a device."""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ._device import AbstractDevice, Measurement, checked

EVALUATED_AT_ONCE = 512


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
        parts.append(checked(description, len(part), measured))
    states, outputs = zip(*parts, strict=True)
    return Measurement(np.concatenate(states), np.concatenate(outputs))


def settle_twice(
    device: AbstractDevice, inputs: Float[np.ndarray, "samples inputs"]
) -> tuple[Measurement, Measurement]:
    """Settles samples twice in a row without control, some hundreds at a time."""
    parts = range(0, len(inputs), EVALUATED_AT_ONCE)
    pairs = [
        [settle_all(device, inputs[first : first + EVALUATED_AT_ONCE]) for _ in range(2)]
        for first in parts
    ]
    first, second = (
        Measurement(*(np.concatenate(each) for each in zip(*one, strict=True)))
        for one in zip(*pairs, strict=True)
    )
    return first, second


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


def metrics_of_json(row: dict[str, Any]) -> DeviceMetrics:
    """Reads the figures of an epoch from JSON's types."""
    # A number that is not finite is stored as null.
    values: dict[str, Any] = {n: math.nan if v is None else v for n, v in row.items()}
    kept: dict[str, Any] = values.pop("validation")
    validation: dict[str, Any] = {n: math.nan if v is None else v for n, v in kept.items()}
    faults = tuple(values.pop("faults"))
    return DeviceMetrics(validation=DeviceEvaluation(**validation), faults=faults, **values)
