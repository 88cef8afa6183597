"""Initialisations of weights and biases.

An initialisation is a small frozen module that draws the weight and the bias of an affine map, so
that one value initialises a whole system. `FanInUniform` is the choice of the least-control paper;
the other three are those of deep feedback control.

JAX's random number at an index depends on the key and the index alone, so a short draw is a prefix
of a longer draw with the same key. Small arrays are therefore cut from draws of one fixed length:
the drawing program is compiled once instead of once per shape.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

# Length of the common draw. It takes less than a millisecond, compilation a hundred times that.
DRAWN = 2**16


def first_of_draw(
    draw: Callable[..., Array], key: PRNGKeyArray, *shape: int, **options: float
) -> Float[Array, " ..."]:
    """Computes `draw(key, shape, **options)`, where `draw` is `uniform` or `normal`."""
    size = math.prod(shape)
    if size >= DRAWN:
        # In its shape, so that a program that divides the array divides the draw.
        return draw(key, shape, **options)
    numbers = draw(key, (DRAWN,), **options)
    return jax.lax.slice(numbers, (0,), (size,)).reshape(shape)


class AbstractInitialisation(eqx.Module):
    """Draws the weight and the bias of one affine map."""

    @abc.abstractmethod
    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        """Draws a weight of shape `(outputs, inputs)`."""

    @abc.abstractmethod
    def bias(self, key: PRNGKeyArray, outputs: int, inputs: int) -> Float[Array, " {outputs}"]:
        """Draws a bias of shape `(outputs,)`."""


class AbstractZeroBias(AbstractInitialisation):
    """An initialisation with zero biases, as in deep feedback control."""

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
