"""Ways from the output's control u back to every neuron of a feedforward network.

Deep feedback control sends u to each layer directly, through feedback weights Q_i of shape
`(n_i, outputs)`; the output neurons are the last layer. A way says how its weights are drawn and
what they do with u; whether they learn is the learning rule's business.
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
    """From the control u of the output to a drive of every neuron."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether the path has weights of its own that may be learned."""

    @abc.abstractmethod
    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> PyTree[Array]:
        """Returns the feedback weights: Q_i for each layer, or `None` where there are none."""

    @abc.abstractmethod
    def drive(
        self, network: Feedforward, weights: PyTree[Array], soma: Layers, control: Output
    ) -> Layers:
        """Returns what one sample's control u drives each layer with, the output last."""


class AbstractDirectPath(AbstractFeedbackPath):
    """Q_i u, with the identity for the output neurons at first."""

    @property
    def learns(self) -> bool:
        return True

    def drive(self, network: Feedforward, weights: Layers, soma: Layers, control: Output) -> Layers:
        del network, soma
        return tuple(weight @ control for weight in weights)


class DirectFeedback(AbstractDirectPath):
    """Feedback weights that are drawn at random.

    **Arguments:** `initialisation` of each hidden layer's Q_i.
    """

    initialisation: AbstractInitialisation = XavierNormal()

    def init(self, network: Feedforward, *, key: PRNGKeyArray) -> Layers:
        outputs = network.layers[-1].bias.shape[0]
        keys = jax.random.split(key, len(network.layers) - 1)
        hidden = tuple(
            self.initialisation.weight(own, layer.bias.shape[0], outputs)
            for own, layer in zip(keys, network.layers[:-1], strict=True)
        )
        return (*hidden, jnp.eye(outputs, dtype=hidden[0].dtype))


class WeightProductFeedback(AbstractDirectPath):
    """Feedback weights that start as the transposed product of the weights above them.

        Q_i = W_{i+1}ᵀ … W_Lᵀ

    The feedback of the "fixed" variants of deep feedback control, when it is not learned.

    **Arguments:** `deviation` of normal numbers that are added to the hidden layers' weights.

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
            weight + self.deviation * jax.random.normal(own, weight.shape, weight.dtype)
            for own, weight in zip(keys, weights[:0:-1], strict=True)
        ]
        return (*hidden, weights[0])


class JacobianFeedback(AbstractFeedbackPath):
    """J_i(v)ᵀu, the ideal feedback: the output's Jacobian in each layer's voltage, where it is now.

    It transports weights, and has none of its own.
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
    """Returns dy/du = Σ_i J_i Q_i of one sample: the output's answer to a control through weights.

    Forward, layer by layer, A_i = Q_i + W_i diag(σ′(v_{i−1})) A_{i−1}, without the Jacobian.
    """
    answers = weights[0].T
    for layer, weight, voltage in zip(network.layers[1:], weights[1:], soma[:-1], strict=True):
        _, slope = jax.jvp(network.activation, (voltage,), (jnp.ones_like(voltage),))
        answers = (answers * slope[None, :]) @ layer.weight.T + weight.T
    return answers.T


def output_jacobian(network: Feedforward, soma: Layers) -> tuple[Float[Array, "outputs _"], ...]:
    """Returns J_i = ∂y/∂v_i of one sample for each layer, at the somata that it is given.

    v_i is moved with all that follows from it; for the output neurons J_L is the identity.
    """
    path = JacobianFeedback()
    outputs = soma[-1].size
    rows = jax.vmap(lambda control: path.drive(network, None, soma, control))
    return rows(jnp.eye(outputs, dtype=soma[-1].dtype))
