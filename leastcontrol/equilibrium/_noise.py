"""Noise in the neurons of simulated dynamics.

Noise enters the apical voltage of every neuron. Its size is given as the stationary standard
deviation of that voltage; the classes differ in the correlation time. The papers give the amplitude
σ of the underlying Wiener process instead, which `deviation_of` converts.

The `increments` of the noise draw a number of mean 0 and variance 1 for each neuron and step:
either normal numbers, or random signs, which need a thirtieth of the random bits. Any function of
the step number can replace them.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Layers = tuple[Float[Array, "..."], ...]
Draws = Callable[[Array], Layers]


def deviation_of(amplitude: float, time_step: float, time_constant: float) -> float:
    """Computes the stationary deviation of n ← (1 − Δt/τ)n + (σ√Δt/τ)ξ from the amplitude σ.

    It is σ/√(2τ) for Δt ≪ τ, and σ/√Δt for τ = Δt, where n has no memory.
    """
    rate = time_step / time_constant
    return amplitude * math.sqrt(time_step) / time_constant / math.sqrt(1 - (1 - rate) ** 2)


class AbstractIncrements(eqx.Module):
    """Random increments of the Wiener process, in units of √Δt."""

    @abc.abstractmethod
    def __call__(self, key: PRNGKeyArray, like: Sequence[Float[Array, "batch _"]]) -> Draws:
        """Makes a function that maps a step number to random numbers for each layer.

        **Arguments:** `key`; `like`, arrays with the shapes to draw.
        """


class NormalIncrements(AbstractIncrements):
    """Standard normal numbers."""

    def __call__(self, key: PRNGKeyArray, like: Sequence[Float[Array, "batch _"]]) -> Draws:
        return normal_draws(key, like)


class TwoPointIncrements(AbstractIncrements):
    """Random signs: 1 or −1 with equal probability.

    This is the simplified weak Euler scheme (Kloeden and Platen, Numerical Solution of Stochastic
    Differential Equations, section 14.1). The first three moments are those of normal numbers, so
    means over the noise have the same weak order 1. Each number takes one random bit instead of 32.
    """

    def __call__(self, key: PRNGKeyArray, like: Sequence[Float[Array, "batch _"]]) -> Draws:
        def signs(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any) -> Float[Array, "batch _"]:
            batch, neurons = shape
            words = jax.random.bits(key, (batch, -(-neurons // 32)), jnp.uint32)
            bits = words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None] & 1
            return 2 * bits.reshape(batch, -1)[:, :neurons].astype(dtype) - 1

        return _draws(signs, key, like)


class AbstractNoise(eqx.Module):
    """Noise in the apical voltages, given by its stationary deviation."""

    deviation: eqx.AbstractVar[float]
    output_deviation: eqx.AbstractVar[float]
    increments: eqx.AbstractVar[AbstractIncrements]

    def __check_init__(self):
        for name in ("deviation", "output_deviation"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` is {value}, but it is the standard deviation of a voltage, finite "
                    f"and at least 0: write {name}=0.01."
                )

    @abc.abstractmethod
    def memory(self, apical_time_constant: float) -> float:
        """Returns the time constant of the filter that the noise passes."""

    @abc.abstractmethod
    def advance(
        self, filtered: Layers, draws: Layers, time_step: float, apical_time_constant: float
    ) -> tuple[Layers, Layers]:
        """Advances the filter; returns its new state and the noise in the apical voltages."""

    def amplitudes(
        self, layers: int, time_step: float, apical_time_constant: float
    ) -> tuple[float, ...]:
        """Computes the amplitude σ for each layer, from the hidden and the output deviation."""
        unit = deviation_of(1.0, time_step, self.memory(apical_time_constant))
        return (self.deviation / unit,) * (layers - 1) + (self.output_deviation / unit,)


class WhiteNoise(AbstractNoise):
    """White noise, filtered only by an apical compartment with a lag.

        v_fb ← v_fb + … + (σ√Δt/τ_A) ξ

    This is the noise of the feedback phase of deep feedback control (arXiv 2106.07887).

    **Arguments:** `deviation` and `output_deviation`, of the apical voltages of hidden and output
    neurons; `increments`, the distribution of ξ.

    **Raises:** `ValueError` for a deviation that is negative or not finite.
    """

    deviation: float = eqx.field(static=True)
    output_deviation: float = eqx.field(static=True)
    increments: AbstractIncrements = NormalIncrements()

    def memory(self, apical_time_constant: float) -> float:
        return apical_time_constant

    def advance(
        self, filtered: Layers, draws: Layers, time_step: float, apical_time_constant: float
    ) -> tuple[Layers, Layers]:
        sizes = self.amplitudes(len(draws), time_step, apical_time_constant)
        scale = math.sqrt(time_step) / apical_time_constant
        added = tuple(size * scale * draw for size, draw in zip(sizes, draws, strict=True))
        return filtered, added


class FilteredNoise(AbstractNoise):
    """An Ornstein–Uhlenbeck process, added to the apical voltage.

        n ← (1 − Δt/τ_ε) n + (√Δt/τ_ε) ξ,   v_fb ← Q u + σ n

    This is the noise of single-phase learning (arXiv 2204.07249).

    **Arguments:**

    * `deviation`, `output_deviation`: of σn in hidden and output neurons.
    * `time_constant`: τ_ε, in units of the controller's time constant.
    * `increments`: the distribution of ξ.

    **Raises:** `ValueError` for a deviation that is negative or not finite, or a time constant that
    is not positive.
    """

    deviation: float = eqx.field(static=True)
    output_deviation: float = eqx.field(static=True)
    time_constant: float = eqx.field(static=True)
    increments: AbstractIncrements = NormalIncrements()

    def __check_init__(self):
        if not 0 < self.time_constant < math.inf:
            raise ValueError(
                f"`time_constant` is {self.time_constant}, but the noise's is positive and finite: "
                "write time_constant=0.1."
            )

    def memory(self, apical_time_constant: float) -> float:
        return self.time_constant

    def advance(
        self, filtered: Layers, draws: Layers, time_step: float, apical_time_constant: float
    ) -> tuple[Layers, Layers]:
        rate = time_step / self.time_constant
        scale = math.sqrt(time_step) / self.time_constant
        filtered = tuple(
            scale * draw + (1 - rate) * old for draw, old in zip(draws, filtered, strict=True)
        )
        sizes = self.amplitudes(len(draws), time_step, apical_time_constant)
        added = tuple(size * value for size, value in zip(sizes, filtered, strict=True))
        return filtered, added


def normal_draws(key: PRNGKeyArray, like: Sequence[Float[Array, "batch _"]]) -> Draws:
    """Makes a function that maps a step number to standard normal numbers for each layer."""
    return _draws(jax.random.normal, key, like)


def _draws(
    sample: Callable[[PRNGKeyArray, tuple[int, int], Any], Array],
    key: PRNGKeyArray,
    like: Sequence[Float[Array, "batch _"]],
) -> Draws:
    sizes = [leaf.shape[1] for leaf in like]
    bounds = [sum(sizes[:index]) for index in range(1, len(sizes))]
    shape, dtype = (like[0].shape[0], sum(sizes)), like[0].dtype

    def draws(step: Array) -> Layers:
        numbers = sample(jax.random.fold_in(key, step), shape, dtype)
        return tuple(jnp.split(numbers, bounds, axis=1))

    return draws
