"""A recurrent network whose neurons have time constants of their own."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._recurrent import EquilibriumRNN
from ._system import AbstractSystem, check_size


class LeakyRNN(AbstractSystem):
    """An equilibrium RNN with a rate for each neuron: f = ρ ⊙ f_RNN(φ), h = h_RNN(φ).

    The rates ρ rise evenly from the slowest to the fastest neuron; they do not learn. The rest
    points are those of the RNN, and its control is another: ½‖ψ‖² depends on the unit of time.

    **Arguments:** `rnn`; `slowest` and `fastest`, rates per unit of time.

    **Raises:** `ValueError` unless 0 < slowest ≤ fastest.
    """

    rnn: EquilibriumRNN
    slowest: float = eqx.field(static=True, default=0.5)
    fastest: float = eqx.field(static=True, default=1.0)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_size("hidden", len(self.rnn.input.bias))
        if not 0 < self.slowest <= self.fastest:
            raise ValueError(
                f"The rates are {self.slowest} to {self.fastest}, but the slowest is above 0 and "
                "not above the fastest: write LeakyRNN(rnn, 0.5, 1.0)."
            )

    def drive(self, x: Float[Array, " inputs"]) -> Float[Array, " hidden"]:
        """Computes the drive of the RNN."""
        return self.rnn.drive(x)

    def initial_state(self, drive: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        """Returns zeros."""
        return self.rnn.initial_state(drive)

    def zero_state(self) -> Float[Array, " hidden"]:
        """Returns zeros."""
        return self.rnn.zero_state()

    def activity(self, state: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        """Computes σ(φ)."""
        return self.rnn.activity(state)

    def feedback_parameters(self) -> PyTree[bool]:
        """Marks those of the RNN."""
        return eqx.tree_at(lambda system: system.rnn, self, self.rnn.feedback_parameters())

    def vector_field(
        self, state: Float[Array, " hidden"], drive: Float[Array, " hidden"]
    ) -> Float[Array, " hidden"]:
        """Computes ρ ⊙ f_RNN(φ)."""
        rates = jnp.linspace(self.slowest, self.fastest, len(state), dtype=state.dtype)
        return rates * self.rnn.vector_field(state, drive)

    def readout(self, state: Float[Array, " hidden"]) -> Float[Array, " outputs"]:
        """Computes h_RNN(φ)."""
        return self.rnn.readout(state)
