"""The dynamics of deep feedback control in time, as one scan that carries sums.

A neuron has three voltages: the basal v_ff = W r + b from the layer below, the apical v_fb from the
controller, and the soma v that follows their sum; its rate is r = σ(v). The output neurons are
linear. In units of the controller's time constant (arXiv 2106.07887 and 2204.07249)

    τ_v dv/dt = −v + v_ff + v_fb,     τ_A dv_fb/dt = −v_fb + Q u + noise,
    u = s + k_p e,     ds/dt = e − αu.

The network is a `Feedforward` system: its state are the hidden somata, its readout is the basal
voltage of the output neurons, and the soma of these is the output.

A step is written for one sample. What learns from it is a sum over time and over the batch
(`AbstractSum`), formed while time runs, so that the memory does not grow with it; moments are kept
only if a `record` asks for something of them.
"""

import abc
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..systems import Feedforward
from ._noise import AbstractNoise, Draws, Layers

Output = Float[Array, " outputs"]


class Dynamics(eqx.Module):
    """The constants of a simulation; times in units of the controller's time constant.

    **Arguments:**

    * `time_step`: Δt of an Euler step.
    * `points`: K, the number of time points; there are K − 1 steps between them.
    * `voltage_time_constant`: τ_v ≥ Δt; with τ_v = Δt the soma follows at once.
    * `apical_time_constant`: τ_A ≥ Δt, or `None` for an apical voltage that follows at once.
    * `leak`, `proportional_gain`: α and k_p of the controller.
    * `delayed`: whether a layer is driven by the rates that the layer below had one step before,
      and not by its new ones.
    * `proactive`: whether the neurons receive the control of the new time point, which knows the
      present error, and not that of the old.
    * `control_filter`: the time constant of a low-pass between the controller and the neurons.
    * `noise`: in the apical voltages.

    **Raises:** `ValueError` for constants with which the steps cannot follow the dynamics.
    """

    time_step: float = eqx.field(static=True)
    points: int = eqx.field(static=True)
    voltage_time_constant: float = eqx.field(static=True)
    leak: float = eqx.field(static=True)
    proportional_gain: float = eqx.field(static=True, default=0.0)
    apical_time_constant: float | None = eqx.field(static=True, default=None)
    delayed: bool = eqx.field(static=True, default=False)
    proactive: bool = eqx.field(static=True, default=True)
    control_filter: float | None = eqx.field(static=True, default=None)
    noise: AbstractNoise | None = eqx.field(default=None)

    def __check_init__(self):
        if not 0 < self.time_step < math.inf:
            raise ValueError(
                f"`time_step` is {self.time_step}, but a step in time is above 0 and finite: write "
                "time_step=0.02."
            )
        if isinstance(self.points, bool) or not isinstance(self.points, int) or self.points < 3:
            raise ValueError(
                f"`points` is {self.points!r}, but a simulation has at least 3 time points, so "
                "that the control meets an error that it has changed: write points=500."
            )
        followed = {
            "voltage_time_constant": self.voltage_time_constant,
            "apical_time_constant": self.apical_time_constant,
            "control_filter": self.control_filter,
            "noise.time_constant": getattr(self.noise, "time_constant", None),
        }
        for name, constant in followed.items():
            if constant is not None and not self.time_step <= constant < math.inf:
                raise ValueError(
                    f"`{name}` is {constant} and the time step {self.time_step}, but a step that "
                    "is longer than a time constant cannot follow it: write time_step="
                    f"{constant / 5:g}, or a longer time constant."
                )
        for name in ("leak", "proportional_gain"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is finite and at least 0: write "
                    f"{name}=0.01."
                )

    @property
    def apical(self) -> float:
        """The apical time constant τ_A as the steps see it: Δt where there is no lag."""
        return self.time_step if self.apical_time_constant is None else self.apical_time_constant


class Moment(NamedTuple):
    """One time point, of one sample or with a leading batch axis: a leaf for each layer.

    * `soma` v, `basal` v_ff, `apical` v_fb; the last soma is the output.
    * `rates` σ(v) of the hidden layers.
    * `control`: u.
    """

    soma: Layers
    basal: Layers
    apical: Layers
    rates: Layers
    control: Float[Array, "..."]


class Memory(NamedTuple):
    """What the dynamics remember of one sample besides a moment.

    * `integral`: s, the integral of the error.
    * `filtered_control`: the control behind its low-pass.
    * `noise`: what the noise is filtered by, for each layer; nothing without noise.
    """

    integral: Float[Array, "..."]
    filtered_control: Float[Array, "..."]
    noise: Layers


class AbstractSum(eqx.Module):
    """A sum over the time points of a batch."""

    @abc.abstractmethod
    def initial(self, first: Moment) -> PyTree[Any]:
        """Returns the sum before the first step."""

    @abc.abstractmethod
    def add(
        self, total: PyTree[Any], step: Int[Array, ""], before: Moment, after: Moment
    ) -> PyTree[Any]:
        """Returns the sum with the step from one moment to the next, number `step` from 0."""


class Simulation(NamedTuple):
    """What a simulation leaves: both ends, the sums, and what was recorded of every moment."""

    first: Moment
    last: Moment
    sums: tuple[PyTree[Any], ...]
    recorded: PyTree[Any]


def free_moment(network: Feedforward, drive: Float[Array, " first"]) -> Moment:
    """Returns one sample's moment at rest without control: the feedforward sweep."""
    hidden = network.settle(
        drive, tuple(jnp.zeros_like(layer.bias) for layer in network.layers[:-1])
    )
    output = network.readout(hidden)
    soma = (*hidden, output)
    rates = tuple(network.activation(voltage) for voltage in hidden)
    return Moment(
        soma, soma, tuple(jnp.zeros_like(leaf) for leaf in soma), rates, jnp.zeros_like(output)
    )


def dynamics_step(
    network: Feedforward,
    dynamics: Dynamics,
    error: Callable[[Output, PyTree[Any]], Output],
    feedback: Callable[[Layers, Output], Layers],
) -> Callable[..., tuple[Moment, Memory]]:
    """Returns one sample's Euler step from a time point to the next.

    **Arguments:** as for `simulate`. What is returned takes whether the control's low-pass has
    begun, the sample's drive, its reference, the moment, the memory, and normal draws for the
    noise, `()` without any.
    """
    noise = dynamics.noise
    step_size, apical = dynamics.time_step, dynamics.apical
    voltage_rate = step_size / dynamics.voltage_time_constant
    apical_rate = step_size / apical

    def advance(
        begun: Array,
        drive: Array,
        reference: PyTree,
        moment: Moment,
        memory: Memory,
        own_draws: Layers,
    ) -> tuple[Moment, Memory]:
        slope = error(moment.soma[-1], reference)
        integral = memory.integral + step_size * (slope - dynamics.leak * moment.control)
        control = integral + dynamics.proportional_gain * slope
        filtered = control
        if dynamics.control_filter is not None:
            rate = step_size / dynamics.control_filter
            followed = rate * control + (1 - rate) * memory.filtered_control
            # The filter starts at the first control that there is.
            filtered = jnp.where(begun, followed, control)
        targets = feedback(moment.soma, filtered if dynamics.proactive else memory.filtered_control)
        apical_voltage = targets
        if apical_rate < 1:
            apical_voltage = tuple(
                old + apical_rate * (new - old)
                for old, new in zip(moment.apical, targets, strict=True)
            )
        noise_filter = memory.noise
        if noise is not None:
            noise_filter, added = noise.advance(memory.noise, own_draws, step_size, apical)
            apical_voltage = tuple(a + b for a, b in zip(apical_voltage, added, strict=True))

        soma, basal, rates = [], [], []
        for index, layer in enumerate(network.layers):
            if index == 0:
                own_basal = drive
            else:
                before = moment.rates[index - 1] if dynamics.delayed else rates[-1]
                own_basal = layer(before)
            old = moment.soma[index]
            voltage = old + voltage_rate * (own_basal + apical_voltage[index] - old)
            basal.append(own_basal)
            soma.append(voltage)
            if index < len(network.layers) - 1:
                rates.append(network.activation(voltage))
        after = Moment(tuple(soma), tuple(basal), apical_voltage, tuple(rates), control)
        return after, Memory(integral, filtered, noise_filter)

    return advance


def simulate(
    network: Feedforward,
    dynamics: Dynamics,
    drives: Float[Array, "batch first"],
    references: PyTree[Any],
    *,
    error: Callable[[Output, PyTree[Any]], Output],
    feedback: Callable[[Layers, Output], Layers],
    sums: tuple[AbstractSum, ...] = (),
    draws: Draws | None = None,
    record: Callable[[Moment], PyTree[Any]] | None = None,
) -> Simulation:
    """Runs a batch from its free rest point under control.

    **Arguments:**

    * `network`, `dynamics`: what runs, and how.
    * `drives`: W_1 x + b_1 of each sample, constant in time.
    * `references`: what `error` compares each sample's output with.
    * `error`: e(output, reference) of one sample.
    * `feedback`: from the somata and the control u of one sample to what drives its apical
      voltages, Q u for direct feedback.
    * `sums`: what is summed over time.
    * `draws`: standard normal numbers for the noise, by step; needed where there is noise.
    * `record`: what is kept of each moment after the first.

    **Raises:** `ValueError` if the dynamics have noise and there are no draws.
    """
    noise = dynamics.noise
    if noise is not None and draws is None:
        raise ValueError(
            "The dynamics have noise, but nothing to draw it from: give a key, or draws."
        )
    advance = dynamics_step(network, dynamics, error, feedback)

    def step(carry: PyTree, index: Array) -> tuple[PyTree, PyTree]:
        moment, memory, totals = carry
        own_draws = () if noise is None or draws is None else draws(index)
        after, memory = jax.vmap(advance, (None, 0, 0, 0, 0, 0))(
            index > 0, drives, references, moment, memory, own_draws
        )
        totals = tuple(
            own.add(total, index, moment, after) for own, total in zip(sums, totals, strict=True)
        )
        return (after, memory, totals), None if record is None else record(after)

    first = jax.vmap(lambda drive: free_moment(network, drive))(drives)
    silent = jnp.zeros_like(first.control)
    memory = Memory(silent, silent, () if noise is None else first.apical)
    totals = tuple(own.initial(first) for own in sums)
    (last, _, totals), recorded = jax.lax.scan(
        step, (first, memory, totals), jnp.arange(dynamics.points - 1)
    )
    return Simulation(first, last, totals, recorded)
