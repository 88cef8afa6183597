"""How the first weights are drawn.

Each initialisation is a small frozen module with two methods, the weight and the bias of an affine
map, so that one value decides the start of a whole system. `FanInUniform` starts the least-control
paper's networks, the other three those of deep feedback control.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


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
        return jax.random.uniform(key, (outputs, inputs), minval=-bound, maxval=bound)

    def bias(self, key: PRNGKeyArray, outputs: int, inputs: int) -> Float[Array, " {outputs}"]:
        bound = 1 / math.sqrt(inputs)
        return jax.random.uniform(key, (outputs,), minval=-bound, maxval=bound)


class XavierNormal(AbstractZeroBias):
    """Normal weights of standard deviation gain · √(2 / (inputs + outputs)), zero biases."""

    gain: float = 1.0

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        deviation = self.gain * math.sqrt(2 / (inputs + outputs))
        return deviation * jax.random.normal(key, (outputs, inputs))


class XavierUniform(AbstractZeroBias):
    """Weights uniform in ±√(6 / (inputs + outputs)), zero biases."""

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        bound = math.sqrt(6 / (inputs + outputs))
        return jax.random.uniform(key, (outputs, inputs), minval=-bound, maxval=bound)


class Orthogonal(AbstractZeroBias):
    """Orthogonal rows or columns times √(6 / (inputs + outputs)), zero biases."""

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        gain = math.sqrt(6 / (inputs + outputs))
        return gain * jax.random.orthogonal(key, max(outputs, inputs))[:outputs, :inputs]
