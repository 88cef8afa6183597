"""How the first weights are drawn.

Each initialisation is a small frozen module with two methods, the weight and the bias of an affine
map, so that one value decides the start of a whole system. `FanInUniform` starts the least-control
paper's networks, the other three those of deep feedback control.

What is drawn at a place depends on the key and the place alone, so that a draw is the beginning of
a longer one with the same key. Small arrays are therefore cut from draws of one length: the program
that draws them is then compiled once, and not for every shape.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

# A draw of so many numbers takes less than a millisecond, and its compilation a hundred times that.
DRAWN = 2**16


def first_of_draw(
    draw: Callable[..., Array], key: PRNGKeyArray, *shape: int, **options: float
) -> Float[Array, " ..."]:
    """Returns `draw(key, shape, **options)`, for `draw` either `uniform` or `normal`."""
    size = math.prod(shape)
    numbers = draw(key, (max(size, DRAWN),), **options)
    return jax.lax.slice(numbers, (0,), (size,)).reshape(shape)


class AbstractInitialisation(eqx.Module):
    """Draws the weight and the bias of one affine map."""

    @abc.abstractmethod
    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        """Returns a weight of shape `(outputs, inputs)`."""

    @abc.abstractmethod
    def bias(self, key: PRNGKeyArray, outputs: int, inputs: int) -> Float[Array, " {outputs}"]:
        """Returns a bias of shape `(outputs,)`."""


class AbstractZeroBias(AbstractInitialisation):
    """An initialisation whose biases are zero, as all of deep feedback control's are."""

    def bias(self, key: PRNGKeyArray, outputs: int, inputs: int) -> Float[Array, " {outputs}"]:
        del key, inputs
        return jnp.zeros(outputs)


class FanInUniform(AbstractInitialisation):
    """Weights and biases uniform in ±1/√inputs."""

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        bound = 1 / math.sqrt(inputs)
        return first_of_draw(jax.random.uniform, key, outputs, inputs, minval=-bound, maxval=bound)

    def bias(self, key: PRNGKeyArray, outputs: int, inputs: int) -> Float[Array, " {outputs}"]:
        bound = 1 / math.sqrt(inputs)
        return first_of_draw(jax.random.uniform, key, outputs, minval=-bound, maxval=bound)


class XavierNormal(AbstractZeroBias):
    """Normal weights of standard deviation gain · √(2 / (inputs + outputs)), zero biases."""

    gain: float = 1.0

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        deviation = self.gain * math.sqrt(2 / (inputs + outputs))
        return deviation * first_of_draw(jax.random.normal, key, outputs, inputs)


class XavierUniform(AbstractZeroBias):
    """Weights uniform in ±√(6 / (inputs + outputs)), zero biases."""

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        bound = math.sqrt(6 / (inputs + outputs))
        return first_of_draw(jax.random.uniform, key, outputs, inputs, minval=-bound, maxval=bound)


class Orthogonal(AbstractZeroBias):
    """Orthogonal rows or columns times √(6 / (inputs + outputs)), zero biases."""

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        gain = math.sqrt(6 / (inputs + outputs))
        return gain * jax.random.orthogonal(key, max(outputs, inputs))[:outputs, :inputs]
