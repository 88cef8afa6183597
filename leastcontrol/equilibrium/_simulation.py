"""Simulation of deep feedback control in time, as one scan that accumulates sums.

A neuron has three voltages: the basal voltage v_ff = W r + b from the layer below, the apical
voltage v_fb from the controller, and the somatic voltage v, which follows their sum. Its rate is
r = σ(v); output neurons are linear. In units of the controller's time constant (arXiv 2106.07887
and 2204.07249)

    τ_v dv/dt = −v + v_ff + v_fb,     τ_A dv_fb/dt = −v_fb + Q u + noise,
    u = s + k_p e,     ds/dt = e − αu.

The network is a `Feedforward` system. Its state holds the somatic voltages of the hidden layers,
its readout is the basal voltage of the output neurons, and the somatic voltage of these is the
output.

A step is written for one sample. Learning rules use sums over time and batch (`AbstractSum`), which
are accumulated during the simulation, so that the memory does not grow with the simulated time.
Single moments are kept only with `record`.
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
    """The constants of a simulation, with times in units of the controller's time constant.

    **Arguments:**

    * `time_step`: Δt of an Euler step.
    * `points`: K, the number of time points, which gives K − 1 steps.
    * `voltage_time_constant`: τ_v ≥ Δt; with τ_v = Δt the soma follows without lag.
    * `apical_time_constant`: τ_A ≥ Δt, or `None` for an apical voltage without lag.
    * `leak`, `proportional_gain`: α and k_p of the controller.
    * `delayed`: whether a layer is driven by the rates that the layer below had one step before,
      instead of the new ones.
    * `proactive`: whether neurons receive the new control, computed from the present error, instead
      of the previous one.
    * `control_filter`: time constant of a low-pass filter between controller and neurons, if any.
    * `noise`: in the apical voltages.

    **Raises:** `ValueError` for values out of range, and a time step above a time constant.
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
        """The apical time constant τ_A, or Δt if there is no lag."""
        return self.time_step if self.apical_time_constant is None else self.apical_time_constant


class Moment(NamedTuple):
    """The network at one time point, with one array per layer and possibly a leading batch axis.

    * `soma` v, `basal` v_ff, `apical` v_fb: voltages; the last soma is the output.
    * `rates`: σ(v) of the hidden layers.
    * `control`: u.
    """

    soma: Layers
    basal: Layers
    apical: Layers
    rates: Layers
    control: Float[Array, "..."]


class Memory(NamedTuple):
    """The other state variables of the dynamics of one sample.

    * `integral`: s, the integral of the error.
    * `filtered_control`: the low-pass filtered control.
    * `noise`: the state of the noise filter for each layer; empty without noise.
    """

    integral: Float[Array, "..."]
    filtered_control: Float[Array, "..."]
    noise: Layers


class AbstractSum(eqx.Module):
    """A sum over the time points of a batch."""

    @abc.abstractmethod
    def initial(self, first: Moment) -> PyTree[Any]:
        """Makes the sum before the first step."""

    @abc.abstractmethod
    def add(
        self, total: PyTree[Any], step: Int[Array, ""], before: Moment, after: Moment
    ) -> PyTree[Any]:
        """Adds the step from one moment to the next; steps are counted from 0."""


class Simulation(NamedTuple):
    """The outcome of a simulation: first and last moment, the sums, and the recorded values."""

    first: Moment
    last: Moment
    sums: tuple[PyTree[Any], ...]
    recorded: PyTree[Any]


def free_moment(network: Feedforward, drive: Float[Array, " first"]) -> Moment:
    """Computes the moment of one sample at rest without control, by the forward pass."""
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
    """Makes the function that takes one Euler step of one sample.

    **Arguments:** as for `simulate`. The step takes a boolean that is false in the first step
    (where the low-pass filter starts), the drive, the reference, the moment, the memory, and the
    draws for the noise, `()` without noise.
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
        step_draws: Layers,
    ) -> tuple[Moment, Memory]:
        slope = error(moment.soma[-1], reference)
        integral = memory.integral + step_size * (slope - dynamics.leak * moment.control)
        control = integral + dynamics.proportional_gain * slope
        filtered = control
        if dynamics.control_filter is not None:
            rate = step_size / dynamics.control_filter
            followed = rate * control + (1 - rate) * memory.filtered_control
            # The filter starts from the first control.
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
            noise_filter, added = noise.advance(memory.noise, step_draws, step_size, apical)
            apical_voltage = tuple(a + b for a, b in zip(apical_voltage, added, strict=True))

        soma, basal, rates = [], [], []
        for index, layer in enumerate(network.layers):
            if index == 0:
                layer_basal = drive
            else:
                before = moment.rates[index - 1] if dynamics.delayed else rates[-1]
                layer_basal = layer(before)
            old = moment.soma[index]
            voltage = old + voltage_rate * (layer_basal + apical_voltage[index] - old)
            basal.append(layer_basal)
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
    """Simulates a batch under control, starting from its free equilibrium.

    **Arguments:**

    * `network`, `dynamics`: the network and the constants of the simulation.
    * `drives`: W_1 x + b_1 of each sample, constant in time.
    * `references`: the reference of each sample, which `error` compares with its output.
    * `error`: e(output, reference) of one sample.
    * `feedback`: maps the somatic voltages and the control u of one sample to the targets of its
      apical voltages, Q u for direct feedback.
    * `sums`: the quantities to sum over time.
    * `draws`: the random numbers for the noise, by step; required with noise.
    * `record`: computes the values to keep from each moment after the first.

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
        step_draws = () if noise is None or draws is None else draws(index)
        after, memory = jax.vmap(advance, (None, 0, 0, 0, 0, 0))(
            index > 0, drives, references, moment, memory, step_draws
        )
        totals = tuple(
            sum_.add(total, index, moment, after) for sum_, total in zip(sums, totals, strict=True)
        )
        return (after, memory, totals), None if record is None else record(after)

    first = jax.vmap(lambda drive: free_moment(network, drive))(drives)
    silent = jnp.zeros_like(first.control)
    memory = Memory(silent, silent, () if noise is None else first.apical)
    totals = tuple(sum_.initial(first) for sum_ in sums)
    (last, _, totals), recorded = jax.lax.scan(
        step, (first, memory, totals), jnp.arange(dynamics.points - 1)
    )
    return Simulation(first, last, totals, recorded)
