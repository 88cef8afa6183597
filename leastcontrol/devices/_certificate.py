"""What can be said of a device from measurements alone.

Samples that are settled twice in the same way tell the noise floor, whether the device drifts
between the two, and which samples can be trusted (`judge`). The perturbations of an epoch tell
which line does not do what it should (`Watch.faults`). What is not measured is not claimed: a
mismatch that does not change over time is not seen here.
"""

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int

from ._device import Description, Measurement

RESULTS = {
    "settled": "Two settles agree within the noise, and the noise does not change the answer.",
    "noise-limited": (
        "The two largest outputs differ by less than the noise changes them: average several "
        "settles, or train for a larger margin."
    ),
    "saturated": (
        "A control line was at its limit: lower the gain of the output controller, or allow more "
        "control."
    ),
    "drifting": (
        "Two settles in a row differ by more than the noise: give the device more time to settle, "
        "or look for what changes between them."
    ),
    "failed": "A reading was not finite: look at the faults that are named.",
}
"""The result of a sample, and a sentence about it."""

DISAGREEMENT = 6.0
"""Two settles never disagree where no output differs by more than so many noise floors."""
FENCE = 5.0
"""Nor, of one sample, where the logarithm of its largest difference, less what all samples have in
common, is within so many deviations of its median."""
CERTAIN = 4.0
"""A response is not zero where it is larger than so many of its standard deviations."""
CHANCE = 1e-3
"""Probability that normal noise makes a line of a population look as if it moved another neuron."""
FEW = 8
"""From fewer samples no common factor is taken off, which their noise would be taken for."""
FROZEN = 1.2
"""A reading is frozen where it varies by less than so many noise floors, whatever is applied."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What was measured of a device on some samples.

    * `noise_floor`: standard deviation of a reading of the output, over repeated settles.
    * `drift`: by how much all samples move together between two settles, by a shift or in
      proportion to what they read, in noise floors.
    * `disagreement`: largest difference of two settles, in noise floors.
    * `counts`: the number of samples of each result.
    """

    noise_floor: float
    drift: float
    disagreement: float
    counts: dict[str, int]


def noise_floors(
    first: Float[np.ndarray, "batch readings"], second: Float[np.ndarray, "batch readings"]
) -> Float[np.ndarray, " readings"]:
    """Computes the standard deviation of each reading from two settles.

    What all samples have in common, a shift and a factor, is no noise and is taken off.
    """
    known = np.isfinite(first - second)
    difference = np.where(known, second - first, 0.0)
    mean = np.where(known, (first + second) / 2, 0.0)
    return np.std(difference - _common(difference, mean), axis=0) / np.sqrt(2)


def judge(
    first: Measurement, second: Measurement, saturated: Bool[np.ndarray, " batch"]
) -> tuple[Certificate, Int[np.ndarray, " batch"]]:
    """Judges samples that were settled twice in the same way.

    **Arguments:**

    * `first`, `second`: the two measurements.
    * `saturated`: whether a control line of the sample is at its limit.

    Returns the certificate, and for each sample the place of its result in `RESULTS`.
    """
    floors = noise_floors(first.output, second.output)
    floor = float(np.sqrt(np.mean(floors**2)))
    unit = floor if floor > 0 else np.finfo(np.float32).eps
    finite = np.all(np.isfinite(np.concatenate([*first, *second], axis=1)), axis=1)
    difference = np.where(finite[:, None], second.output - first.output, 0.0)
    mean = np.where(finite[:, None], (first.output + second.output) / 2, 0.0)
    ranked = np.sort(mean, axis=1)
    margin = ranked[:, -1] - ranked[:, -2] if mean.shape[1] > 1 else np.full(len(mean), np.inf)
    largest = np.max(np.abs(difference), axis=1)
    common = _common(difference, mean)
    rest = (difference - common)[finite]
    allowed = DISAGREEMENT * np.sqrt(2) * unit
    jumps = np.max(np.abs(difference - common), axis=1) > max(allowed, _fence(rest))
    # The later condition is the graver one.
    result = np.zeros(len(mean), int)
    for name, holds in (
        ("noise-limited", margin < 2 * floor),
        ("saturated", saturated),
        ("drifting", jumps | (np.max(np.abs(common), axis=1) > allowed)),
        ("failed", ~finite),
    ):
        result[holds] = tuple(RESULTS).index(name)
    counts = {name: int(np.sum(result == place)) for place, name in enumerate(RESULTS)}
    shift = np.sqrt(np.mean(common**2)) if len(mean) else np.nan
    known = bool(finite.any())
    return Certificate(
        floor if known else float("nan"),
        float(shift / unit) if known else float("nan"),
        float(np.max(largest) / unit) if known else float("nan"),
        counts,
    ), result


def _certain_of_many(neurons: int) -> float:
    """Computes the deviations that no response to another neuron's line reaches by chance."""
    return max(CERTAIN, NormalDist().inv_cdf(1 - CHANCE / (2 * neurons**2)))


def _common(
    difference: Float[np.ndarray, "batch readings"], mean: Float[np.ndarray, "batch readings"]
) -> Float[np.ndarray, "batch readings"]:
    """Computes what the differences of two settles have in common: a shift and a factor.

    Where all samples go on towards their rest, the difference is in proportion to the reading;
    noise of the same size in both settles is not. Medians, so that one sample that jumps is not
    taken for what all have in common; of fewer than `FEW` samples, their mean shift alone.
    """
    if not len(difference):
        return difference
    if len(difference) < FEW:
        return np.broadcast_to(np.mean(difference, axis=0), difference.shape)
    middle, place = np.median(difference, axis=0), np.median(mean, axis=0)
    apart = mean - place
    ratios = np.where(apart == 0, np.nan, (difference - middle) / np.where(apart == 0, 1, apart))
    varies = np.any(apart != 0, axis=0)
    factor = np.zeros(difference.shape[1])
    factor[varies] = np.nanmedian(ratios[:, varies], axis=0)
    return middle + factor * apart


def _fence(difference: Float[np.ndarray, "samples outputs"]) -> float:
    """Computes up to where the largest difference of a sample alone is one of the noise.

    Noise reaches the output through slopes that differ from sample to sample, so that largest
    differences spread like a lognormal variable; its deviation is the median absolute one.
    """
    if not len(difference):
        return 0.0
    moved = np.max(np.abs(difference - np.median(difference, axis=0)), axis=1)
    logarithms = np.log(np.maximum(moved, np.finfo(np.float64).tiny))
    middle = np.median(logarithms)
    deviation = 1.4826 * np.median(np.abs(logarithms - middle))
    return float(np.exp(middle + FENCE * deviation))


class Watch:
    """The readings of an epoch, from which faults are named.

    **Arguments:** `description`, of the device.
    """

    def __init__(self, description: Description):
        self._description = description
        readings = description.neurons + description.outputs
        self._missing = np.zeros(readings, int)
        self._count, self._sum, self._square = 0, np.zeros(readings), np.zeros(readings)
        self._first: np.ndarray | None = None
        self._products = np.zeros((readings, description.neurons))
        self._energy = np.zeros(description.neurons)
        self._half_square, self._pairs = np.zeros(readings), 0

    def add_pair(
        self,
        perturbation: Float[np.ndarray, "batch neurons"],
        plus: Measurement,
        minus: Measurement,
    ) -> None:
        """Adds half the difference of measurements under controls ±ε about the same control."""
        upper, lower = (np.concatenate(part, axis=1) for part in (plus, minus))
        half = np.where(np.isfinite(upper - lower), upper - lower, 0.0) / 2
        self._products += half.T @ perturbation
        self._energy += np.sum(perturbation**2, axis=0)
        self._half_square += np.mean(half**2, axis=0)
        self._pairs += 1

    def responses(
        self,
    ) -> tuple[Float[np.ndarray, "readings neurons"], Float[np.ndarray, "readings neurons"]]:
        """Computes the mean response of every reading to every line, and its standard error."""
        energy = np.where(self._energy > 0, self._energy, np.inf)
        square = self._half_square / max(self._pairs, 1)
        return self._products / energy, np.sqrt(np.outer(square, 1 / energy))

    def add(self, measured: Measurement) -> None:
        """Adds a measurement."""
        readings = np.concatenate(measured, axis=1)
        finite = np.isfinite(readings)
        self._missing += np.sum(~finite, axis=0)
        known = np.where(finite, readings, 0.0)
        if self._first is None:
            self._first = known[0]
        # Less the first reading, so that a constant one has no rounding error of a variance.
        known = np.where(finite, known - self._first, 0.0)
        self._count += len(readings)
        self._sum += np.sum(known, axis=0)
        self._square += np.sum(known**2, axis=0)

    def faults(self) -> tuple[str, ...]:
        """Names what is wrong with single readings and lines, a sentence each."""
        description = self._description
        names = [description.neuron(place) for place in range(description.neurons)]
        readings = [
            *(f"The reading of {name}" for name in names),
            *(f"Output {place}" for place in range(description.outputs)),
        ]
        mean = self._sum / max(self._count, 1)
        spread = np.sqrt(np.maximum(self._square / max(self._count, 1) - mean**2, 0))
        faults = [
            f"{readings[place]} was not finite in {count} of {self._count} samples."
            for place, count in enumerate(self._missing)
            if count
        ]
        state, deviation = self.responses()
        moved = np.any(np.abs(state) > CERTAIN * deviation, axis=1)
        # Of a reading that answers to nothing, the half differences are noise alone.
        floors = np.sqrt(2 * self._half_square / max(self._pairs, 1))
        frozen = (spread <= FROZEN * floors) & ~moved & (self._missing == 0)
        faults += [
            f"{readings[place]} is frozen: it stays the same whatever is applied."
            for place in np.flatnonzero(frozen)
        ]
        for line, name in enumerate(names):
            if frozen[line]:
                continue
            part = self._peers(line)
            size, unit = np.abs(state[part, line]), deviation[part, line]
            certain = size[line - part.start] > CERTAIN * unit[line - part.start]
            moved_most = size > _certain_of_many(len(size)) * unit
            strongest = part.start + int(np.argmax(np.where(moved_most, size, 0)))
            if certain and state[line, line] < 0:
                faults.append(
                    f"The control line of {name} has its sign flipped: control upwards moves the "
                    "neuron downwards."
                )
            elif not certain and moved_most.any():
                faults.append(
                    f"The control line of {name} is swapped: it moves {names[strongest]} and not "
                    "its own neuron."
                )
        return tuple(faults)

    def _peers(self, line: int) -> slice:
        parts: Sequence[slice] = [
            self._description.part(population.name) for population in self._description.populations
        ]
        return next(part for part in parts if part.start <= line < part.stop)
