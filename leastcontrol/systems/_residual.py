"""A deep residual network whose rest point is its forward pass.

All blocks have the same shape, so their states are one array with a leading depth axis and their
weights one pytree with the same axis. The vector field is mapped over that axis and `settle` scans
along it, so the size of the compiled program does not depend on the depth.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._initialisation import AbstractInitialisation, FanInUniform
from ._system import (
    AbstractOrderedSystem,
    AbstractSystemWithoutDirectFeedback,
    Activation,
    Affine,
    all_matrices,
    check_size,
    relu,
)

Module = Callable[[Array], Array]
States = Float[Array, "nodes ..."]


class ResidualNetwork(AbstractOrderedSystem, AbstractSystemWithoutDirectFeedback):
    """An encoder, a stack of residual blocks of equal shape, and a decoder.

        f_0 = −φ_0 + E(x)
        f_l = (φ_{l−1} − φ_l)/s + B_l(φ_{l−1}),   l = 1 … D
        h   = R(φ_D)

    At rest without control this is the ordinary forward pass of a residual network,
    φ_l = φ_{l−1} + s B_l(φ_{l−1}). The scale s = 1/√D keeps the size of the state, and of signals
    sent back through it, independent of the depth. Control enters next to its block, as s ψ_l, so
    that the effect of all blocks' control on the output does not grow with the depth and one leak
    requests the same output control at every depth. (Control in units of the state would have D
    times the effect.) The update of block l is ψ_l times the block's input. It is local to the
    block, and to one layer if the block has one layer, as in `dense_residual_network`. A block of
    several layers is differentiated internally.

    **Arguments:**

    * `encoder`: E, a module that maps the input to a state.
    * `make_block`: makes a block B_l from a random key: a module that maps a state to a state and
      begins with its nonlinearity.
    * `depth`: D, the number of blocks.
    * `decoder`: R, a module that maps the last state to the output.
    * `key`: for the blocks.

    **Raises:** `ValueError` for a depth below one.
    """

    unit_rate: ClassVar[bool] = True
    encoder: Module
    blocks: Module
    decoder: Module
    depth: int = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        encoder: Module,
        make_block: Callable[[PRNGKeyArray], Module],
        depth: int,
        decoder: Module,
        *,
        key: PRNGKeyArray,
    ):
        check_size("depth", depth)
        self.encoder = encoder
        self.blocks = eqx.filter_vmap(make_block)(jax.random.split(key, depth))
        self.decoder = decoder
        self.depth = depth
        self.output_neurons = True

    @property
    def scale(self) -> float:
        """The scale s = 1/√D of a block's output and control in the state."""
        return 1 / math.sqrt(self.depth)

    def drive(self, x: Array) -> Float[Array, "..."]:
        """Computes E(x)."""
        return self.encoder(x)

    def initial_state(self, drive: Float[Array, "..."]) -> States:
        """Returns zeros."""
        return jnp.zeros((self.depth + 1, *drive.shape), drive.dtype)

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: States, drive: Float[Array, "..."]) -> States:
        """Computes (f_0, …, f_D), stacked."""
        before = state[:-1]
        changes = eqx.filter_vmap(lambda block, state: block(state))(self.blocks, before)
        if changes.shape != before.shape:
            raise ValueError(
                f"The blocks make arrays of shape {list(changes.shape[1:])} from a state of shape "
                f"{list(before.shape[1:])}, but a residual block keeps the shape of its state: "
                "give blocks that do."
            )
        rates = (before - state[1:]) / self.scale + changes
        return jnp.concatenate([(drive - state[0])[None], rates])

    def readout(self, state: States) -> Float[Array, " outputs"]:
        """Computes R(φ_D)."""
        return self.decoder(state[-1])

    def settle(self, drive: Float[Array, "..."], control: States) -> States:
        """Computes φ_l = φ_{l−1} + s (B_l(φ_{l−1}) + ψ_l), block after block."""
        learned, fixed = eqx.partition(self.blocks, eqx.is_array)
        first = drive + control[0]

        def step(before: Array, layer: tuple[Any, Array]) -> tuple[Array, Array]:
            block, block_control = layer
            state = before + self.scale * (eqx.combine(block, fixed)(before) + block_control)
            return state, state

        _, others = jax.lax.scan(step, first, (learned, control[1:]))
        return jnp.concatenate([first[None], others])


class ActivatedAffine(eqx.Module):
    """The map φ ↦ W σ(φ) + b."""

    affine: Affine
    activation: Activation = eqx.field(static=True)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return self.affine(self.activation(x))


def dense_residual_network(
    inputs: int,
    width: int,
    depth: int,
    outputs: int,
    *,
    activation: Activation = relu,
    initialisation: AbstractInitialisation | None = None,
    key: PRNGKeyArray,
) -> ResidualNetwork:
    """Makes a residual network of fully connected blocks B_l(φ) = W_l σ(φ) + b_l.

    The encoder is affine, and the decoder is affine after the activation. So every weight feeds one
    state, and its update is that state's control times the activity before the weight.

    **Arguments:**

    * `inputs`, `width`, `outputs`: sizes of x, of each block's state and of y, in neurons.
    * `depth`: number of blocks.
    * `activation`, `initialisation`, `key`: as in `Feedforward`.

    **Raises:** `ValueError` for a size below one.
    """
    for name, size in (("inputs", inputs), ("width", width), ("outputs", outputs)):
        check_size(name, size)
    drawn = FanInUniform() if initialisation is None else initialisation
    first_key, blocks_key, last_key = jax.random.split(key, 3)

    def make(inputs: int, outputs: int, key: PRNGKeyArray) -> ActivatedAffine:
        return ActivatedAffine(Affine.initialise(inputs, outputs, drawn, key=key), activation)

    return ResidualNetwork(
        Affine.initialise(inputs, width, drawn, key=first_key),
        lambda key: make(width, width, key),
        depth,
        make(width, outputs, last_key),
        key=blocks_key,
    )
