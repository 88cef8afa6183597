"""Feedback paths from the output control u to every neuron of a feedforward network.

Deep feedback control sends u directly to each layer, through feedback weights Q_i of shape
`(n_i, outputs)`; the output neurons are the last layer. A path draws its weights and applies them
to u. Whether they learn is up to the learning rule.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..systems import AbstractInitialisation, Feedforward, XavierNormal

Layers = tuple[Float[Array, "..."], ...]
Output = Float[Array, " outputs"]


class AbstractFeedbackPath(eqx.Module):
    """A path from the output control u to a feedback input of every neuron."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether the path has weights that can be learned."""

    @abc.abstractmethod
    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> PyTree[Array]:
        """Draws the feedback weights Q_i of each layer, or returns `None` if there are none."""

    @abc.abstractmethod
    def drive(
        self, network: Feedforward, weights: PyTree[Array], soma: Layers, control: Output
    ) -> Layers:
        """Computes the feedback input of each layer for one sample, with the output layer last."""


class AbstractDirectPath(AbstractFeedbackPath):
    """The path Q_i u, with the identity as initial weights of the output neurons."""

    @property
    def learns(self) -> bool:
        return True

    def drive(self, network: Feedforward, weights: Layers, soma: Layers, control: Output) -> Layers:
        del network, soma
        return tuple(weight @ control for weight in weights)


class DirectFeedback(AbstractDirectPath):
    """Random feedback weights.

    **Arguments:** `initialisation` of each hidden layer's Q_i.
    """

    initialisation: AbstractInitialisation = XavierNormal()

    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> Layers:
        outputs = network.layers[-1].bias.shape[0]
        keys = jax.random.split(key, len(network.layers) - 1)
        hidden = tuple(
            self.initialisation.weight(layer_key, layer.bias.shape[0], outputs)
            for layer_key, layer in zip(keys, network.layers[:-1], strict=True)
        )
        return (*hidden, jnp.eye(outputs, dtype=hidden[0].dtype))


class WeightProductFeedback(AbstractDirectPath):
    """Feedback weights that start as the transposed product of the forward weights above them.

        Q_i = W_{i+1}ᵀ … W_Lᵀ

    Without learning, this is the feedback of the "fixed" variants of deep feedback control.

    **Arguments:** `deviation`, of normal noise added to the feedback weights of hidden layers.

    **Raises:** `ValueError` for a deviation that is negative or not finite.
    """

    deviation: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not 0 <= self.deviation < math.inf:
            raise ValueError(
                f"`deviation` is {self.deviation}, but a standard deviation is finite and at least "
                "0: write WeightProductFeedback(deviation=0.01)."
            )

    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> Layers:
        product = jnp.eye(network.layers[-1].bias.shape[0], dtype=network.layers[-1].weight.dtype)
        weights = [product]
        for layer in network.layers[:0:-1]:
            product = layer.weight.T @ product
            weights.append(product)
        keys = jax.random.split(key, len(weights) - 1)
        hidden = [
            weight + self.deviation * jax.random.normal(layer_key, weight.shape, weight.dtype)
            for layer_key, weight in zip(keys, weights[:0:-1], strict=True)
        ]
        return (*hidden, weights[0])


class JacobianFeedback(AbstractFeedbackPath):
    """The ideal feedback J_i(v)ᵀu, with the Jacobian of the output at the current voltages.

    It uses the transposed forward weights and has no feedback weights.
    """

    @property
    def learns(self) -> bool:
        return False

    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> None:
        del network, key

    def drive(self, network: Feedforward, weights: None, soma: Layers, control: Output) -> Layers:
        del weights
        drives = [control]
        for layer, voltage in zip(network.layers[:0:-1], soma[-2::-1], strict=True):
            _, slope = jax.jvp(network.activation, (voltage,), (jnp.ones_like(voltage),))
            drives.append(slope * (layer.weight.T @ drives[-1]))
        return tuple(drives[::-1])


def output_response(
    network: Feedforward, weights: Layers, soma: Layers
) -> Float[Array, "outputs outputs"]:
    """Computes dy/du = Σ_i J_i Q_i of one sample, the response of the output to the control.

    It runs forward through the layers, A_i = Q_i + W_i diag(σ′(v_{i−1})) A_{i−1}, without forming
    the Jacobian.
    """
    answers = weights[0].T
    for layer, weight, voltage in zip(network.layers[1:], weights[1:], soma[:-1], strict=True):
        _, slope = jax.jvp(network.activation, (voltage,), (jnp.ones_like(voltage),))
        answers = (answers * slope[None, :]) @ layer.weight.T + weight.T
    return answers.T


def output_jacobian(network: Feedforward, soma: Layers) -> tuple[Float[Array, "outputs _"], ...]:
    """Computes J_i = ∂y/∂v_i of one sample for each layer, at the given somatic voltages.

    The derivative includes the effect of v_i on later layers; J_L is the identity.
    """
    path = JacobianFeedback()
    outputs = soma[-1].size
    rows = jax.vmap(lambda control: path.drive(network, None, soma, control))
    return rows(jnp.eye(outputs, dtype=soma[-1].dtype))
