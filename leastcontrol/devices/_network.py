"""The settling of a simulated network, compiled by JAX.

It is a module of its own, because the protocol is also spoken by programs without JAX.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EULER_STEP = 0.2
"""In time constants of a voltage; also the delay from one layer to the next."""


class Neurons(NamedTuple):
    """The parts of the neurons of a device: an array for each layer, of gains with the output's."""

    gains: list[Any]
    slopes: list[Any]
    thresholds: list[Any]
    alive: list[Any]


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
) -> tuple[Float[Array, "batch neurons"], Float[Array, "batch outputs"]]:
    """Settles samples and reads them, with noise of the seed for the settles so far.

    **Arguments:** `noise`, of the voltages and of the readings; `steps`, of the dynamics, or `None`
    for rest.
    """
    hidden, key = len(neurons.slopes), jax.random.fold_in(jax.random.key(seed), count)
    ends = np.cumsum([len(gain) for gain in neurons.gains])[:-1]

    def activity(place: int, voltage: Array) -> Array:
        if place == hidden:
            return voltage
        argument = neurons.slopes[place] * (voltage - neurons.thresholds[place])
        return neurons.alive[place] * jnp.tanh(argument)

    def settle(inputs: Array, control: Array, key: Array) -> tuple[Array, Array]:
        outputs = len(neurons.gains[-1])
        drawn = jax.random.normal(key, (2 * control.size + outputs,), control.dtype)
        shaken, read_state, read_output = jnp.split(drawn, [control.size, 2 * control.size])
        gained = control * jnp.concatenate(neurons.gains)
        pushes = jnp.split(gained + noise[0] * shaken, ends)

        def target(place: int, rate: Array) -> Array:
            weight, bias = effective[place]
            return weight @ rate + bias + pushes[place]

        places = range(hidden + 1)
        if steps is None:
            rate, rates = inputs, []
            for place in places:
                rate = activity(place, target(place, rate))
                rates.append(rate)
        else:

            def euler(_: Array, voltages: list[Array]) -> list[Array]:
                now = [inputs, *(activity(place, voltages[place]) for place in places)]
                return [
                    voltages[place] + EULER_STEP * (target(place, now[place]) - voltages[place])
                    for place in places
                ]

            voltages = jax.lax.fori_loop(0, steps, euler, [0 * push for push in pushes])
            rates = [activity(place, voltages[place]) for place in places]
        state = jnp.concatenate(rates) + noise[1] * read_state
        return state, rates[-1] + noise[1] * read_output

    return jax.vmap(settle)(inputs, control, jax.random.split(key, len(inputs)))
