"""How feedback weights learn from noise.

Noise ε in the neurons reaches the output through the network, and the controller answers to it, so
that u is correlated with −J ε. The product of apical voltage and control therefore drives the
columns of Q into the row space of J (arXiv 2106.07887, section 5; 2204.07249):

    g_Q,i = κ_i ⟨v_fb,i[k] z[k+1]ᵀ⟩,   κ_i = s_i / max(σ_i, 0.01)²,

a descent direction, with the decay of Q left to the optimiser. `SinglePhase` reads it off the phase
that the forward weights learn in, with z the control less its own running mean; `TwoPhase` runs a
phase for it alone; `QuasiStatic` solves its limit for slow noise from two rest points.
"""

import abc
import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..controllers import AbstractTeaching, Nudged, noisy_response
from ..equilibrium import AbstractNoise, AbstractSum, Dynamics, Moment, WhiteNoise
from ._feedback_phase import AbstractPhase, PhaseResult, SteadyState, Task, draws_of
from ._rule import Batch

Layers = tuple[Float[Array, "..."], ...]
# Below this amplitude the noise is taken for this large in κ, as in the authors' code.
SMALLEST_AMPLITUDE = 0.01


class FeedbackSum(AbstractSum):
    """Σ_k Σ_b v_fb[k] z[k+1]ᵀ, where z is u, or u less its running mean.

    The mean starts at the first control; `rate` is its Δt/τ_f, or `None` for z = u. The sum starts
    with the time point `start`.
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
    """Where the descent direction of feedback weights comes from."""

    @abc.abstractmethod
    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` for a forward phase that it cannot learn beside."""

    def sums(self, phase: AbstractPhase) -> tuple[AbstractSum, ...]:
        """Returns what it needs summed over the forward phase: nothing."""
        del phase
        return ()

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
        """Returns g_Q for each layer.

        **Arguments:** `task` and `batch` of the forward phase, that `phase` itself with its
        `result`; `draws`, for noise of its own, made from `key` where there are none.
        """


class SinglePhase(AbstractFeedbackLearning):
    """Feedback learns in the very phase that the forward weights learn in (Strong-DFC).

    That phase has to be simulated and noisy.

    **Arguments:**

    * `filter_time_constant`: τ_f of the running mean that is taken off the control.
    * `scaled`: whether s_i = (1 + τ_v/τ_ε)^(L − i), which makes up for what voltages lose of the
      noise on their way to the output, or 1.
    * `start`: the time point from which products are averaged; on its way to a distant target the
      control changes by more than what noise does to it, and a product with that teaches Q nothing
      but to shrink. All of them are averaged by default, as in the authors' code.
    * `decay`: γ ≥ 0 of the term γQ beside the product.
    * `constants`: the dynamics whose Δt and τ_v filter and scaling are made of; the phase's own by
      default. The authors' code takes the forward phase's, in pre-training too.

    **Raises:** `ValueError` for a time constant that is not positive, and beside a phase without
    noise.
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

    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` for a phase that has no noise or is not simulated."""
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
            own + self.decay * weight for own, weight in zip(gradient, task.weights, strict=True)
        )


class TwoPhase(AbstractFeedbackLearning):
    """Feedback learns in a noisy phase of its own ("sleep").

    **Arguments:**

    * `dynamics`: of that phase, with noise.
    * `teaching`: what the output is held at; the free output by default.
    * `filter_time_constant`: of a running mean that is taken off the control; `None` for none. With
      strong feedback the mean control would otherwise dominate the product.
    * `scaling_time_constant`: τ_ε in s_i = (1 + τ_v/τ_ε)^(L − i); `None` for s_i = 1.

    **Raises:** `ValueError` for dynamics without noise.
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

    def check(self, phase: AbstractPhase) -> None:
        """Raises nothing: the phase is its own."""

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
        own = Task.of(task.network, task.path, task.weights, self.teaching, task.loss, batch)
        rate = None
        if self.filter_time_constant is not None:
            rate = self.dynamics.time_step / self.filter_time_constant
        draws = draws_of(self.dynamics, own, key) if draws is None else draws
        simulation = own.simulate(self.dynamics, (FeedbackSum(rate),), draws)
        voltage_constant = self.dynamics.voltage_time_constant
        scales = _scales(task, voltage_constant, self.scaling_time_constant)
        terms = (self.dynamics.points - 1) * len(task.drives)
        return _mean_products(simulation.sums[0][0], scales, self.dynamics, terms)


class QuasiStatic(AbstractFeedbackLearning):
    """Feedback learns from how a controlled rest point answers to noise that stands still.

        g_Q,i = ⟨(Q_i δu + ε_i) δuᵀ⟩ / s² + γ Q_i,   δu = u*(ε) − u*(0)

    The limit of a noisy phase for noise that is slow against the controller, with the same meaning
    of every term: rest points instead of a simulation. As the controller answers with
    δu = −Aε, A = (H J Q + αI)⁻¹ H J, the weights settle where Q⟨AAᵀ + γI⟩ = ⟨Aᵀ⟩.

    **Arguments:**

    * `deviation`: s, of the noise in the neurons' apical voltages.
    * `decay`: γ ≥ 0.
    * `leak`: α of a phase of its own in which the free output is held, as in `TwoPhase`; with
      `None` the rest point of the forward phase is what is shifted, as in `SinglePhase`.
    * `samples`: how many samples of each batch have such a phase, its first ones; all by default.

    **Raises:** `ValueError` for a deviation that is not positive, a decay or leak below 0, fewer
    than one sample, samples without a leak, and beside any phase but `SteadyState`.
    """

    deviation: float = eqx.field(static=True, default=0.1)
    decay: float = eqx.field(static=True, default=0.0)
    leak: float | None = eqx.field(static=True, default=None)
    samples: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not 0 < self.deviation < math.inf:
            raise ValueError(
                f"`deviation` is {self.deviation}, but feedback learns from noise above 0: write "
                "QuasiStatic(deviation=0.1)."
            )
        for name in ("decay", "leak"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` is {value}, but it is finite and at least 0: write "
                    f"QuasiStatic({name}=0.1)."
                )
        if self.leak == 0:
            raise ValueError(
                "`leak` is 0, but the rest point is solved for with a leak above 0: write "
                "QuasiStatic(leak=1.0)."
            )
        if self.samples is not None and (self.samples < 1 or self.leak is None):
            raise ValueError(
                f"`samples` is {self.samples} and `leak` {self.leak}, but a share of the batch, at "
                "least one sample, learns in a phase of its own: write QuasiStatic(leak=1.0, "
                "samples=32)."
            )

    def check(self, phase: AbstractPhase) -> None:
        """Raises `ValueError` for any other phase than `SteadyState`."""
        if not isinstance(phase, SteadyState):
            raise ValueError(
                f"QuasiStatic shifts a rest point that was solved for, and {type(phase).__name__} "
                "does not solve for one: write SteadyState(leak), or another feedback learning."
            )

    def gradient(
        self,
        task: Task,
        batch: Batch,
        phase: AbstractPhase,
        result: PhaseResult,
        draws: Any,
        key: PRNGKeyArray | None,
    ) -> Layers:
        assert isinstance(phase, SteadyState)
        rest = result.rest
        if self.leak is not None:
            phase = dataclasses.replace(phase, leak=self.leak)
            batch = jax.tree.map(lambda leaf: leaf[: self.samples], batch)
            held = Nudged(0.0)
            task = Task.of(task.network, task.path, task.weights, held, task.loss, batch)
            rest = None
        if draws is None:
            quiet = Dynamics(1.0, 3, 1.0, 0.0, noise=WhiteNoise(1.0, 1.0))
            draws = draws_of(quiet, task, key)
        noise = tuple(self.deviation * draw for draw in draws(jnp.asarray(0)))
        problem, samples = phase.problem(task)
        apical, moved, found = noisy_response(problem, phase.solver, samples, rest, noise)
        moved = jnp.where(found[:, None], moved, 0)
        apical = tuple(jnp.where(found[:, None], own, 0) for own in apical)
        scale = 1 / (self.deviation**2 * jnp.maximum(jnp.sum(found), 1))
        return tuple(
            scale * (own.T @ moved) + self.decay * weight
            for own, weight in zip(apical, task.weights, strict=True)
        )


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
