"""A recurrent network read at its rest point."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._initialisation import AbstractInitialisation, FanInUniform
from ._system import (
    AbstractInnerKinks,
    Activation,
    Affine,
    Rectifier,
    check_size,
    relu,
    tanh,
)


class EquilibriumRNN(AbstractInnerKinks):
    """A recurrent network with constant input, and a linear readout of its rest point.

        f = −φ + W σ(φ) + U x + b
        h = D σ(φ) + b_D

    (arXiv 2207.01332, section 4.2). The rest point is unique where σ'W contracts. Training does not
    enforce this; a solve that fails reports it in its result.

    **Arguments:**

    * `inputs`, `hidden`, `outputs`: sizes of x, φ and y, in neurons.
    * `activation`: σ, elementwise.
    * `initialisation`: of U, b, W, D and b_D; W has no separate bias.
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one.
    """

    input: Affine
    recurrent: Float[Array, "hidden hidden"]
    output: Affine
    activation: Activation = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        activation: Activation = tanh,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        check_size("inputs", inputs)
        check_size("hidden", hidden)
        check_size("outputs", outputs)
        if initialisation is None:
            initialisation = FanInUniform()
        input_key, recurrent_key, output_key = jax.random.split(key, 3)
        self.input = Affine.initialise(inputs, hidden, initialisation, key=input_key)
        self.recurrent = initialisation.weight(recurrent_key, hidden, hidden)
        self.output = Affine.initialise(hidden, outputs, initialisation, key=output_key)
        self.activation = activation
        self.output_neurons = True

    def drive(self, x: Float[Array, " inputs"]) -> Float[Array, " hidden"]:
        """Computes U x + b."""
        return self.input(x)

    def initial_state(self, drive: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        """Returns zeros."""
        return jnp.zeros_like(drive)

    def zero_state(self) -> Float[Array, " hidden"]:
        """Returns zeros."""
        return jnp.zeros_like(self.input.bias)

    def activity(self, state: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        """Computes σ(φ)."""
        return self.activation(state)

    def feedback_parameters(self) -> PyTree[bool]:
        """Marks W and D; U reads the input alone."""
        none = jax.tree.map(lambda _: False, self)
        return eqx.tree_at(lambda rnn: (rnn.recurrent, rnn.output.weight), none, (True, True))

    @property
    def rectified(self) -> bool:
        """Whether σ is relu."""
        return self.activation is relu

    def field_through(
        self, state: Float[Array, " hidden"], drive: Float[Array, " hidden"], rectify: Rectifier
    ) -> Float[Array, " hidden"]:
        """Computes −φ + W σ(φ) + U x + b for another σ."""
        return self.recurrent @ rectify(state) + drive - state

    def readout_through(
        self, state: Float[Array, " hidden"], rectify: Rectifier
    ) -> Float[Array, " outputs"]:
        """Computes D σ(φ) + b_D for another σ."""
        return self.output(rectify(state))

    def vector_field(
        self, state: Float[Array, " hidden"], drive: Float[Array, " hidden"]
    ) -> Float[Array, " hidden"]:
        """Computes −φ + W σ(φ) + U x + b."""
        return self.field_through(state, drive, self.activation)

    def readout(self, state: Float[Array, " hidden"]) -> Float[Array, " outputs"]:
        """Computes D σ(φ) + b_D."""
        return self.readout_through(state, self.activation)
