"""Feedback learning from simulated noise.

Noise ε in the neurons reaches the output through the network and the controller responds to it, so
u is correlated with −Jε. The product of apical voltage and control therefore drives the columns of
Q into the row space of J (arXiv 2106.07887, section 5; 2204.07249):

    g_Q,i = κ_i ⟨v_fb,i[k] z[k+1]ᵀ⟩,   κ_i = s_i / max(σ_i, 0.01)²,

a descent direction; the optimiser adds the decay of Q. `SinglePhase` takes it from the phase in
which the forward weights learn, with z the control minus its running mean. `TwoPhase` runs a
separate phase for it. `QuasiStatic` is the limit of slow noise and needs no simulation.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ...controllers import AbstractTeaching, Nudged
from ...equilibrium import AbstractNoise, AbstractSum, Dynamics, Moment
from .._rule import Batch
from ._noise import draws_of
from ._phase import AbstractPhase, PhaseResult
from ._task import Layers, Task

SMALLEST_AMPLITUDE = 0.01
"""Smaller amplitudes of the noise count as this large in κ, as in the authors' code."""


class FeedbackSum(AbstractSum):
    """Sums Σ_k Σ_b v_fb[k] z[k+1]ᵀ over time, where z is u, or u minus its running mean.

    The mean starts at the first control. `rate` is its Δt/τ_f, or `None` for z = u. The sum begins
    at the time point `start`.
    """

    rate: float | None = eqx.field(static=True)
    start: int = eqx.field(static=True, default=0)

    def initial(self, first: Moment) -> PyTree[Any]:
        outputs = first.control.shape[1]
        products = tuple(jnp.zeros((leaf.shape[1], outputs), leaf.dtype) for leaf in first.apical)
        return products, first.control

    def add(
        self, total: PyTree[Any], step: Int[Array, ""], before: Moment, after: Moment
    ) -> PyTree[Any]:
        products, mean = total
        signal = after.control
        if self.rate is not None:
            followed = self.rate * after.control + (1 - self.rate) * mean
            mean = jnp.where(step > 0, followed, after.control)
            signal = after.control - mean
        if self.start > 0:
            signal = jnp.where(step >= self.start, signal, 0)
        products = tuple(
            product + apical.T @ signal
            for product, apical in zip(products, before.apical, strict=True)
        )
        return products, mean


class AbstractFeedbackLearning(eqx.Module):
    """Computes the descent direction of the feedback weights."""

    @property
    @abc.abstractmethod
    def simulated(self) -> tuple[Dynamics, AbstractTeaching] | None:
        """The dynamics and the teaching of a separate simulation; `None` if there is none."""

    @abc.abstractmethod
    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` if it cannot learn beside this forward phase."""

    @abc.abstractmethod
    def sums(self, phase: AbstractPhase) -> tuple[AbstractSum, ...]:
        """Lists the sums that the forward phase has to take for it."""

    @abc.abstractmethod
    def gradient(
        self,
        task: Task,
        batch: Batch,
        phase: AbstractPhase,
        result: PhaseResult,
        draws: Any,
        key: PRNGKeyArray | None,
    ) -> Layers:
        """Computes g_Q for each layer.

        **Arguments:**

        * `task`, `batch`: of the forward phase.
        * `phase`, `result`: the forward phase itself, and what it computed.
        * `draws`: for noise outside the forward phase; drawn from `key` if `None`.
        """


class SinglePhase(AbstractFeedbackLearning):
    """Learns the feedback in the same phase as the forward weights (Strong-DFC).

    That phase has to be simulated and noisy.

    **Arguments:**

    * `filter_time_constant`: τ_f of the running mean that is subtracted from the control.
    * `scaled`: whether s_i = (1 + τ_v/τ_ε)^(L − i), or 1. The factor makes up for the noise that
      the voltages filter out on its way to the output.
    * `start`: the time point at which averaging begins; by default the first, as in the authors'
      code. On the way to a distant target the control changes mostly for other reasons than the
      noise, and products with that change teach Q only to shrink.
    * `decay`: γ ≥ 0 of the term γQ, which is added to the product.
    * `constants`: the dynamics whose Δt and τ_v the filter and the scaling use; by default the
      phase's. The authors' code uses those of the forward phase, in pre-training too.

    **Raises:** `ValueError` if a time constant is not positive, or if the phase has no noise.
    """

    filter_time_constant: float = eqx.field(static=True)
    scaled: bool = eqx.field(static=True, default=True)
    start: int = eqx.field(static=True, default=0)
    decay: float = eqx.field(static=True, default=0.0)
    constants: Dynamics | None = None

    def __check_init__(self):
        _check_time_constant("filter_time_constant", self.filter_time_constant)
        if self.start < 0:
            raise ValueError(
                f"`start` is {self.start}, but it is a time point, at least 0: write start=100."
            )
        if not 0 <= self.decay < math.inf:
            raise ValueError(
                f"`decay` is {self.decay}, but it is finite and at least 0: write decay=0.1."
            )

    @property
    def simulated(self) -> None:
        return None

    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` if the phase is not simulated, or has no noise."""
        if phase.dynamics_of_noise is None:
            raise ValueError(
                "SinglePhase learns feedback from the noise of the forward phase, which has none: "
                "write Continuous(Dynamics(..., noise=FilteredNoise(0.1, 0.1, time_constant=0.1)))."
            )
        constants = self._constants(phase)
        if self.start > phase.dynamics_of_noise.points - 2:
            raise ValueError(
                f"`start` is {self.start}, but the simulation has {phase.dynamics_of_noise.points} "
                "time points: write an earlier one, or simulate for longer."
            )
        if self.filter_time_constant < constants.time_step:
            raise ValueError(
                f"`filter_time_constant` is {self.filter_time_constant} and the time step "
                f"{constants.time_step}, but a step that is longer than a time constant cannot "
                "follow it: write a longer time constant."
            )

    def _constants(self, phase: AbstractPhase) -> Dynamics:
        constants = phase.dynamics_of_noise if self.constants is None else self.constants
        assert constants is not None
        return constants

    def sums(self, phase: AbstractPhase) -> tuple[AbstractSum, ...]:
        rate = self._constants(phase).time_step / self.filter_time_constant
        return (FeedbackSum(rate, self.start),)

    def gradient(
        self,
        task: Task,
        batch: Batch,
        phase: AbstractPhase,
        result: PhaseResult,
        draws: Any,
        key: PRNGKeyArray | None,
    ) -> Layers:
        del batch, draws, key
        dynamics = phase.dynamics_of_noise
        assert dynamics is not None
        constants = self._constants(phase)
        assert dynamics.noise is not None
        noise_constant = dynamics.noise.memory(dynamics.apical) if self.scaled else None
        scales = _scales(task, constants.voltage_time_constant, noise_constant)
        terms = (dynamics.points - 1 - self.start) * len(task.drives)
        gradient = _mean_products(result.totals[0][0], scales, dynamics, terms)
        return tuple(
            product + self.decay * weight
            for product, weight in zip(gradient, task.weights, strict=True)
        )


class TwoPhase(AbstractFeedbackLearning):
    """Learns the feedback in a separate noisy phase ("sleep").

    **Arguments:**

    * `dynamics`: of that phase, with noise.
    * `teaching`: what the output is held at; by default the free output.
    * `filter_time_constant`: of a running mean that is subtracted from the control; `None` for
      none. With strong feedback the mean control would otherwise dominate the product.
    * `scaling_time_constant`: τ_ε in s_i = (1 + τ_v/τ_ε)^(L − i); `None` for s_i = 1.

    **Raises:** `ValueError` if the dynamics have no noise.
    """

    dynamics: Dynamics
    teaching: AbstractTeaching = Nudged(0.0)
    filter_time_constant: float | None = eqx.field(static=True, default=None)
    scaling_time_constant: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.dynamics.noise is None:
            raise ValueError(
                "TwoPhase learns feedback from noise, and its dynamics have none: write "
                "Dynamics(..., noise=WhiteNoise(0.1, 0.1))."
            )
        for name in ("filter_time_constant", "scaling_time_constant"):
            if getattr(self, name) is not None:
                _check_time_constant(name, getattr(self, name))

    @property
    def simulated(self) -> tuple[Dynamics, AbstractTeaching]:
        return self.dynamics, self.teaching

    def check(self, phase: AbstractPhase) -> None:
        """Accepts every forward phase, for it does not use it."""

    def sums(self, phase: AbstractPhase) -> tuple[AbstractSum, ...]:
        """Returns no sums: it takes them in its separate phase."""
        del phase
        return ()

    def gradient(
        self,
        task: Task,
        batch: Batch,
        phase: AbstractPhase,
        result: PhaseResult,
        draws: Any,
        key: PRNGKeyArray | None,
    ) -> Layers:
        del phase, result
        sleep = Task.of(task.network, task.path, task.weights, self.teaching, task.loss, batch)
        rate = None
        if self.filter_time_constant is not None:
            rate = self.dynamics.time_step / self.filter_time_constant
        draws = draws_of(self.dynamics, sleep, key) if draws is None else draws
        simulation = sleep.simulate(self.dynamics, (FeedbackSum(rate),), draws)
        voltage_constant = self.dynamics.voltage_time_constant
        scales = _scales(task, voltage_constant, self.scaling_time_constant)
        terms = (self.dynamics.points - 1) * len(task.drives)
        return _mean_products(simulation.sums[0][0], scales, self.dynamics, terms)


def _scales(
    task: Task, voltage_time_constant: float, noise_time_constant: float | None
) -> tuple[float, ...]:
    layers = len(task.network.layers)
    if noise_time_constant is None:
        return (1.0,) * layers
    ratio = voltage_time_constant / noise_time_constant
    return tuple((1 + ratio) ** (layers - 1 - index) for index in range(layers))


def _mean_products(
    products: Layers, scales: tuple[float, ...], dynamics: Dynamics, terms: int
) -> Layers:
    noise: AbstractNoise | None = dynamics.noise
    assert noise is not None
    amplitudes = noise.amplitudes(len(products), dynamics.time_step, dynamics.apical)
    return tuple(
        product * (scale / max(amplitude, SMALLEST_AMPLITUDE) ** 2 / terms)
        for product, scale, amplitude in zip(products, scales, amplitudes, strict=True)
    )


def _check_time_constant(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(
            f"`{name}` is {value}, but a time constant is positive and finite: write {name}=0.5."
        )
