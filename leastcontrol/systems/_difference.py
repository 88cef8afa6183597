"""Differences of activations without cancellation.

Control changes a voltage only slightly, and some updates use the difference of the two nearly equal
rates. In single precision their subtraction leaves few digits. For activations with an addition
theorem the difference is computed from the change of the voltage instead.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._system import Activation, identity, relu, tanh

Voltage = Float[Array, "*shape"]


def activation_difference(
    activation: Activation, below: Voltage, change: Voltage
) -> Float[Array, "*shape"]:
    """Computes σ(v + Δv) − σ(v), to the relative precision of Δv for tanh, relu and the identity.

        tanh(v + Δv) − tanh(v) = (1 − tanh²v) tanh Δv / (1 + tanh v tanh Δv)

    **Arguments:** `activation` σ; `below` v; `change` Δv.
    """
    if activation is identity:
        return change
    if activation is relu:
        return jnp.where(below > 0, jnp.maximum(change, -below), jnp.maximum(below + change, 0))
    if activation is tanh:
        rate, moved = jnp.tanh(below), jnp.tanh(change)
        return (1 - rate) * (1 + rate) * moved / (1 + rate * moved)
    return activation(below + change) - activation(below)
