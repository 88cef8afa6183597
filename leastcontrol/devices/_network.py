"""The settling of a simulated network, compiled by JAX.

It is a module of its own, because the protocol is also spoken by programs without JAX.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EULER_STEP = 0.2
"""In time constants of a voltage; also the time by which a layer sees the one before late."""


class Neurons(NamedTuple):
    """The parts of the neurons of a device: an array for each layer, of gains with the output's."""

    gains: list[Any]
    slopes: list[Any]
    thresholds: list[Any]
    alive: list[Any]


class Chain(NamedTuple):
    """A batch under way, and what of it has not been read yet.

    * `voltages`: of each layer, of shape `(batch, neurons of the layer)`.
    * `line`: the activities of the last Euler steps, of shape `(batch, steps + 1, neurons)`; the
      first of them is read now, the last is that of the voltages.
    """

    voltages: list[Any]
    line: Any


# One for all devices, so that those of the same sizes share what is compiled.
@functools.partial(jax.jit, static_argnames="steps")
def settled(
    neurons: Neurons,
    effective: list[tuple[Any, Any]],
    noise: tuple[Any, Any],
    inputs: Any,
    control: Any,
    seed: Any,
    count: Any,
    steps: int | None,
    chain: Chain | None,
) -> tuple[Float[Array, "batch neurons"], Float[Array, "batch outputs"], Chain | None]:
    """Settles samples and reads them, with noise of the seed for the settles so far.

    **Arguments:** `noise`, of the voltages and of the readings; `steps`, of the dynamics from where
    the `chain` is, or `None` for rest.

    Returns state and output as they are read, and where the chain is then.
    """
    key = jax.random.fold_in(jax.random.key(seed), count)
    ends = np.cumsum([len(gain) for gain in neurons.gains])[:-1]

    def settle(
        inputs: Array, control: Array, key: Array, chain: Chain | None
    ) -> tuple[Array, Array, Chain | None]:
        outputs = len(neurons.gains[-1])
        drawn = jax.random.normal(key, (2 * control.size + outputs,), control.dtype)
        shaken, read_state, read_output = jnp.split(drawn, [control.size, 2 * control.size])
        gained = control * jnp.concatenate(neurons.gains)
        pushes = jnp.split(gained + noise[0] * shaken, ends)

        def target(place: int, rate: Array) -> Array:
            weight, bias = effective[place]
            return weight @ rate + bias + pushes[place]

        if steps is None:
            rate, rates = inputs, []
            for place in range(len(neurons.gains)):
                rate = _activity(neurons, place, target(place, rate))
                rates.append(rate)
            read = jnp.concatenate(rates)
        else:
            assert chain is not None

            def euler(_: Array, chain: Chain) -> Chain:
                now = [inputs, *_activities(neurons, chain.voltages)]
                voltages = [
                    voltage + EULER_STEP * (target(place, now[place]) - voltage)
                    for place, voltage in enumerate(chain.voltages)
                ]
                newest = jnp.concatenate(_activities(neurons, voltages))
                return Chain(voltages, jnp.concatenate([chain.line[1:], newest[None]]))

            reached: Chain = jax.lax.fori_loop(0, steps, euler, chain)
            chain, read = reached, reached.line[0]
        output = read[-outputs:] + noise[1] * read_output
        return read + noise[1] * read_state, output, chain

    keys = jax.random.split(key, len(inputs))
    return jax.vmap(settle)(inputs, control, keys, chain)


def silent(neurons: Neurons, batch: int, lag: int) -> Chain:
    """Makes the chain of neurons whose voltages have been 0 for at least as long as it lags.

    **Arguments:** `lag`, in Euler steps.
    """
    voltages = [jnp.zeros(len(gain)) for gain in neurons.gains]
    activity = jnp.concatenate(_activities(neurons, voltages))
    line = jnp.broadcast_to(activity, (batch, lag + 1, len(activity)))
    return Chain([jnp.broadcast_to(each, (batch, len(each))) for each in voltages], line)


def _activity(neurons: Neurons, place: int, voltage: Array) -> Array:
    if place == len(neurons.slopes):
        return voltage
    argument = neurons.slopes[place] * (voltage - neurons.thresholds[place])
    return neurons.alive[place] * jnp.tanh(argument)


def _activities(neurons: Neurons, voltages: Sequence[Array]) -> list[Array]:
    return [_activity(neurons, place, voltage) for place, voltage in enumerate(voltages)]
