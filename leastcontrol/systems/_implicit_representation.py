"""Implicit representations: the rest points of a network driven by coordinates encode a signal."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._initialisation import AbstractInitialisation, FanInUniform
from ._system import (
    AbstractInnerKinks,
    AbstractSystemWithoutDirectFeedback,
    Activation,
    Affine,
    Rectifier,
    all_matrices,
    check_size,
    relu,
)


class ImplicitRepresentation(AbstractInnerKinks, AbstractSystemWithoutDirectFeedback):
    """A recurrent network that maps a coordinate to the value of a signal at that coordinate.

        f = −φ + σ(Ω W φ) + Ω U x + b
        h = Ω D φ + b_D

    (arXiv 2207.01332, equation 153). W and D are initialised Ω times smaller, so that Ω cancels at
    the start. It then makes these weights learn Ω² times faster relative to their size, which lets
    the network fit fine detail. U is not rescaled, so Ω also sets the finest spatial scale that the
    network resolves.

    **Arguments:**

    * `inputs`, `hidden`, `outputs`: sizes of a coordinate, of φ and of the signal.
    * `frequency`: Ω, above 0; 15 to 50 in the paper.
    * `activation`: σ, elementwise.
    * `initialisation`: of U, b, ΩW, ΩD and b_D.
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one or a frequency that is not above 0.
    """

    input: Affine
    recurrent: Float[Array, "hidden hidden"]
    output: Affine
    frequency: float = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        frequency: float = 30.0,
        activation: Activation = relu,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        for name, size in (("inputs", inputs), ("hidden", hidden), ("outputs", outputs)):
            check_size(name, size)
        if not 0 < frequency < float("inf"):
            raise ValueError(
                f"`frequency` is {frequency}, but Ω is a finite number above 0: write "
                "frequency=30.0."
            )
        initialisation = FanInUniform() if initialisation is None else initialisation
        input_key, recurrent_key, output_key = jax.random.split(key, 3)
        self.input = Affine.initialise(inputs, hidden, initialisation, key=input_key)
        self.recurrent = initialisation.weight(recurrent_key, hidden, hidden) / frequency
        output = Affine.initialise(hidden, outputs, initialisation, key=output_key)
        self.output = Affine(output.weight / frequency, output.bias)
        self.frequency = frequency
        self.activation = activation
        self.output_neurons = True

    def drive(self, x: Float[Array, " inputs"]) -> Float[Array, " hidden"]:
        """Computes Ω U x + b."""
        return self.input(self.frequency * x)

    def initial_state(self, drive: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        """Returns zeros."""
        return jnp.zeros_like(drive)

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    @property
    def rectified(self) -> bool:
        """Whether σ is relu."""
        return self.activation is relu

    def field_through(
        self, state: Float[Array, " hidden"], drive: Float[Array, " hidden"], rectify: Rectifier
    ) -> Float[Array, " hidden"]:
        """Computes −φ + σ(Ω W φ) + Ω U x + b for another σ."""
        return rectify(self.recurrent @ (self.frequency * state)) + drive - state

    def readout_through(
        self, state: Float[Array, " hidden"], rectify: Rectifier
    ) -> Float[Array, " outputs"]:
        """Computes Ω D φ + b_D, which has no units."""
        del rectify
        return self.readout(state)

    def vector_field(
        self, state: Float[Array, " hidden"], drive: Float[Array, " hidden"]
    ) -> Float[Array, " hidden"]:
        """Computes −φ + σ(Ω W φ) + Ω U x + b."""
        return self.field_through(state, drive, self.activation)

    def readout(self, state: Float[Array, " hidden"]) -> Float[Array, " outputs"]:
        """Computes Ω D φ + b_D."""
        return self.output(self.frequency * state)
