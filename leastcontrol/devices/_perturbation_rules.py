"""Rules that perturb something, and look whether the loss falls.

They need neither feedback weights nor a model. `WeightPerturbationRule` and
`SimultaneousPerturbationRule` perturb all weights at once and have one number of a batch to learn
from; `NodePerturbationRule` perturbs the control lines, and has one of every sample. For P
perturbed parts the variance of such a direction is about P times the square of its mean.
"""

import dataclasses
import math
from typing import final

import numpy as np
from jaxtyping import Float

from ._device import Measurement, Weights
from ._rule import AbstractRuleWithoutControl, Bench, DeviceBatch
from ._updates import finite, outer_products


@dataclasses.dataclass(frozen=True)
class AbstractPerturbationRule(AbstractRuleWithoutControl):
    """Perturbs, and learns from the difference of two losses; two settles a step.

    **Arguments:** `perturbation`, its size.

    **Raises:** `ValueError` for a size that is not above 0.
    """

    perturbation: float

    def __post_init__(self):
        if not 0 < self.perturbation < math.inf:
            raise ValueError(
                f"`perturbation` is {self.perturbation}, but it is finite and above 0: write "
                "perturbation=0.01."
            )

    @property
    def settles(self) -> int:
        return 2


@final
@dataclasses.dataclass(frozen=True)
class WeightPerturbationRule(AbstractPerturbationRule):
    """−(L(w + σξ) − L(w)) ξ / σ, with ξ ∼ N(0, I) for all weights at once.

    Jabri and Flower, Weight perturbation, IEEE Transactions on Neural Networks 3 (1992), in the
    form that perturbs all weights together: Cauwenberghs, NeurIPS 5 (1992).

    **Arguments:** `perturbation`, σ, in the unit of a weight.
    """

    perturbation: float = 0.01

    def _direction(
        self, bench: Bench, weights: Weights, batch: DeviceBatch, random: np.random.Generator
    ) -> tuple[Weights, Float[np.ndarray, "batch outputs"]]:
        noise = {name: random.standard_normal(weight.shape) for name, weight in weights.items()}
        free = bench.settle_free(batch.inputs)
        bench.write(_scaled(noise, self.perturbation))
        shaken = bench.settle_free(batch.inputs)
        bench.write(_scaled(noise, -self.perturbation))
        rise = float(np.mean(_rise(shaken, free, batch)))
        return _scaled(noise, -rise / self.perturbation), free.output


@final
@dataclasses.dataclass(frozen=True)
class SimultaneousPerturbationRule(AbstractPerturbationRule):
    """−(L(w + cΔ) − L(w − cΔ)) Δ / 2c, with random signs Δ of all weights at once.

    Spall, Multivariate stochastic approximation using a simultaneous perturbation gradient
    approximation, IEEE Transactions on Automatic Control 37 (1992).

    **Arguments:** `perturbation`, c, in the unit of a weight.
    """

    perturbation: float = 0.01

    def _direction(
        self, bench: Bench, weights: Weights, batch: DeviceBatch, random: np.random.Generator
    ) -> tuple[Weights, Float[np.ndarray, "batch outputs"]]:
        signs = {
            name: random.choice([-1.0, 1.0], size=weight.shape) for name, weight in weights.items()
        }
        bench.write(_scaled(signs, self.perturbation))
        plus = bench.settle_free(batch.inputs)
        bench.write(_scaled(signs, -2 * self.perturbation))
        minus = bench.settle_free(batch.inputs)
        bench.write(_scaled(signs, self.perturbation))
        rise = float(np.mean(_rise(plus, minus, batch)))
        free = (plus.output + minus.output) / 2
        return _scaled(signs, -rise / (2 * self.perturbation)), free


@final
@dataclasses.dataclass(frozen=True)
class NodePerturbationRule(AbstractPerturbationRule):
    """Behind a neuron is −(L(ε) − L(−ε)) / 2ε, with a sign of ε for every line and sample.

    Le Cun, Galland and Hinton, GEMINI: gradient estimation through matrix inversion after noise
    injection, NeurIPS 1 (1988).

    **Arguments:** `perturbation`, |ε|, in the unit of control.
    """

    perturbation: float = 0.2

    def _direction(
        self, bench: Bench, weights: Weights, batch: DeviceBatch, random: np.random.Generator
    ) -> tuple[Weights, Float[np.ndarray, "batch outputs"]]:
        del weights
        control, plus, minus = bench.settle_pair(batch.inputs, self.perturbation, random)
        behind = -_rise(plus, minus, batch)[:, None] / (2 * control)
        state = (finite(plus.state) + finite(minus.state)) / 2
        direction = outer_products(bench.description, batch.inputs, state, behind)
        return direction, (plus.output + minus.output) / 2


def _rise(
    upper: Measurement, lower: Measurement, batch: DeviceBatch
) -> Float[np.ndarray, " batch"]:
    """Computes by how much the loss of each sample is higher; 0 where it was not measured."""
    rise = _losses(upper, batch) - _losses(lower, batch)
    return np.where(np.isfinite(rise), rise, 0.0)


def _losses(measured: Measurement, batch: DeviceBatch) -> Float[np.ndarray, " batch"]:
    output = measured.output
    highest = output.max(axis=1)
    total = highest + np.log(np.sum(np.exp(output - highest[:, None]), axis=1))
    return total - np.sum(batch.targets * output, axis=1)


def _scaled(weights: Weights, factor: float) -> Weights:
    return {name: factor * weight for name, weight in weights.items()}
