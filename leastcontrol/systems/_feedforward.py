"""A fully connected feedforward network whose rest point is its forward pass.

The state holds the pre-activations of the hidden layers. Layer i is driven by layer i − 1 alone, so
∂_φf is block lower triangular and one pass settles the network, with or without control. With relu
it is settled on its kinks, as any chain of layers (`_chain`).
"""

from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._chain import (
    Layers,
    chain_field_and_readout,
    chain_stiffness,
    settle_chain_by_signals,
)
from ._initialisation import AbstractInitialisation, FanInUniform
from ._kinks import Kinked, Split
from ._system import (
    AbstractRectifiedSystem,
    Activation,
    Affine,
    SettledOnKinks,
    check_size,
    relu,
    tanh,
)

State = tuple[Float[Array, " _"], ...]


class Feedforward(AbstractRectifiedSystem):
    """A multilayer perceptron with hidden states φ_1 … φ_L and a linear readout.

        f_1 = −φ_1 + W_1 x + b_1
        f_i = −φ_i + W_i σ(φ_{i−1}) + b_i,   i = 2 … L
        h   = W_{L+1} σ(φ_L) + b_{L+1}

    At rest without control this is the ordinary forward pass (arXiv 2207.01332, section 4.1). With
    relu a controlled state usually lies on kinks (docs/derivations/rectified-units.md).

    **Arguments:**

    * `inputs`, `outputs`: sizes of x and y, in neurons.
    * `hidden`: sizes of the hidden layers, at least one.
    * `activation`: σ, elementwise; `tanh` as in the papers, or `relu`, `gelu`, `identity`.
    * `initialisation`: of every weight and bias.
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one or no hidden layer.
    """

    unit_rate: ClassVar[bool] = True
    layers: tuple[Affine, ...]
    activation: Activation = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: Activation = tanh,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        if isinstance(hidden, int):
            raise ValueError(
                f"`hidden` is {hidden}, but it lists the sizes of the hidden layers: write "
                f"hidden=({hidden},)."
            )
        if len(hidden) == 0:
            raise ValueError(
                "`hidden` is empty, but a feedforward system has at least one hidden layer: "
                "write hidden=(256, 256)."
            )
        check_size("inputs", inputs)
        for size in hidden:
            check_size("hidden", size)
        check_size("outputs", outputs)
        sizes = (inputs, *hidden, outputs)
        if initialisation is None:
            initialisation = FanInUniform()
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            Affine.initialise(before, after, initialisation, key=layer_key)
            for before, after, layer_key in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.activation = activation
        self.output_neurons = True

    def drive(self, x: Float[Array, " inputs"]) -> Float[Array, " first"]:
        """Computes W_1 x + b_1."""
        return self.layers[0](x)

    def initial_state(self, drive: Float[Array, " first"]) -> State:
        """Returns zeros."""
        return tuple(jnp.zeros_like(drive, shape=layer.bias.shape) for layer in self.layers[:-1])

    def zero_state(self) -> State:
        """Returns zeros."""
        return self.initial_state(jnp.zeros_like(self.layers[0].bias))

    def activity(self, state: State) -> State:
        """Computes (σ(φ_1), …, σ(φ_L))."""
        return tuple(map(self.activation, state))

    def feedback_parameters(self) -> PyTree[bool]:
        """Marks W_2 … W_{L+1}; W_1 reads the input alone."""
        none = jax.tree.map(lambda _: False, self)
        later = lambda net: [layer.weight for layer in net.layers[1:]]  # noqa: E731
        return eqx.tree_at(later, none, [True] * (len(self.layers) - 1))

    def vector_field(self, state: State, drive: Float[Array, " first"]) -> State:
        """Computes (f_1, …, f_L)."""
        targets = [drive]
        for layer, before in zip(self.layers[1:-1], state[:-1], strict=True):
            targets.append(layer(self.activation(before)))
        return tuple(target - phi for target, phi in zip(targets, state, strict=True))

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Computes W_{L+1} σ(φ_L) + b_{L+1}."""
        return self.layers[-1](self.activation(state[-1]))

    def settle(self, drive: Float[Array, " first"], control: State) -> State:
        """Computes φ_i = W_i σ(φ_{i−1}) + b_i + ψ_i, layer after layer."""
        state = [drive + control[0]]
        for layer, layer_control in zip(self.layers[1:-1], control[1:], strict=True):
            state.append(layer(self.activation(state[-1])) + layer_control)
        return tuple(state)

    @property
    def rectified(self) -> bool:
        return self.activation is relu

    def initial_signals(self, drive: Float[Array, " first"]) -> State:
        """Returns zeros."""
        return self.initial_state(drive)

    def settle_by_signals(
        self, drive: Float[Array, " first"], signals: State, last: State
    ) -> SettledOnKinks:
        """Settles the network under signals, layer after layer."""
        return settle_chain_by_signals(self._chain(), drive, signals, last)

    def stiffness(self) -> tuple[Float[Array, "..."], ...]:
        """Estimates κ_i = ½ Σ_j W_ij² (1 + κ_j), assuming that half of the units are active."""
        return chain_stiffness([layer.weight for layer in self.layers[1:-1]])

    def field_and_readout(
        self, state: State, drive: Float[Array, " first"], split: Split = Kinked.split
    ) -> tuple[State, Float[Array, " outputs"]]:
        """Computes f and h, whose pullback on a kink is that of `split`."""
        return chain_field_and_readout(self._chain(), state, drive, split)

    def _chain(self) -> Layers:
        return [(Kinked(), layer) for layer in self.layers[1:]]
