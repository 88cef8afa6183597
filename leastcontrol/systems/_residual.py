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
from ._kinks import Kinked, Split
from ._system import (
    AbstractRectifiedSystem,
    AbstractSystemWithoutDirectFeedback,
    Activation,
    Affine,
    SettledOnKinks,
    all_matrices,
    check_size,
    relu,
)

Module = Callable[[Array], Array]
States = Float[Array, "nodes ..."]


class ResidualNetwork(AbstractRectifiedSystem, AbstractSystemWithoutDirectFeedback):
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

    A network of `dense_residual_network` with relu is settled on its kinks, which the skips around
    the blocks do not have (docs/derivations/rectified-units.md).

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

    @property
    def rectified(self) -> bool:
        """Whether blocks and decoder are affine after relu."""
        return all(
            isinstance(part, ActivatedAffine) and part.activation is relu
            for part in (self.blocks, self.decoder)
        )

    def initial_signals(self, drive: Float[Array, "..."]) -> tuple[States, States]:
        """Returns zeros for both signals of every node: that of its skip and of its activity."""
        zeros = self.initial_state(drive)
        return zeros, zeros

    def settle_by_signals(
        self, drive: Float[Array, " width"], signals: tuple[States, States], last: States
    ) -> SettledOnKinks:
        """Settles the network under signals, node after node.

        A node has the control ψ = s(k + λg), with the signal k of its skip and the share λ of the
        signal g at its activity. It moves the state by s²k + χ, and χ = s²λg is the control of a
        rectified unit with the pre-activation p + s²k and the signal s²g. The first node has 1 in
        the place of s.
        """
        affine, readout = _affine(self.blocks), _affine(self.decoder)
        skips, sent = signals
        scales = self._scales(drive.dtype)

        def settled(target: Array, scale: Array, skip: Array, signal: Array, before: Array) -> Any:
            square = scale**2
            state, moved = _KINKED.settle(target + square * skip, square * signal, before)
            return state, (state, target, scale * skip + moved / scale)

        def step(before: Array, node: tuple[Array, ...]) -> Any:
            weight, bias, *others = node
            change = weight @ _KINKED.activity(before) + bias
            return settled(before + self.scale * change, *others)

        first, of_first = settled(drive, scales[0], skips[0], sent[0], last[0])
        nodes = jax.tree.map(lambda leaf: leaf[1:], (scales, skips, sent, last))
        _, of_others = jax.lax.scan(step, first, (affine.weight, affine.bias, *nodes))
        states, targets, controls = _stacked(of_first, of_others)

        def answer(
            output_control: Float[Array, " outputs"], before: States, stiffness: States
        ) -> tuple[tuple[States, States], States, States]:
            # What each node was moved by while its target was measured.
            by_scale = scales[:, None]
            moved = by_scale * before - by_scale**2 * skips

            def requested(skip: Array, signal: Array, node: tuple[Array, ...]) -> Any:
                scale, target, state, moved, stiffness = node
                square = scale**2
                signal_here = square * signal
                move = _KINKED.answer(target + square * skip, signal_here, state, moved, stiffness)
                missing = _KINKED.unanswered(state, signal_here, move) / square
                back = skip + move / square
                return back, (skip, signal, scale * back, missing)

            def step(carry: tuple[Array, Array], node: tuple[Array, ...]) -> Any:
                weight, *others = node
                back, of_node = requested(*carry, tuple(others))
                return (back, self.scale * (weight.T @ back)), of_node

            last_signal = readout.weight.T @ output_control
            nodes = (scales, targets, states, moved, stiffness)
            first, later = (
                jax.tree.map(lambda leaf, part=part: leaf[part], nodes)
                for part in (0, slice(1, None))
            )
            carry, of_others = jax.lax.scan(
                step,
                (jnp.zeros_like(last_signal), last_signal),
                (affine.weight, *later),
                reverse=True,
            )
            _, of_first = requested(*carry, first)
            skips_sent, signals_sent, controls, missing = _stacked(of_first, of_others)
            return (skips_sent, signals_sent), controls, missing

        read = readout(_KINKED.activity(states[-1]))
        return SettledOnKinks(states, controls, read, answer)

    def stiffness(self) -> States:
        """Estimates how far all control before a node moves it, in units of the node's own effect.

        With half of the units active, S_l = S_{l−1} + ½s² Σ_j W_ij² S_{l−1,j} + s² is the squared
        norm of the gradient of a unit of node l with respect to the controls up to it; S_0 = 1. The
        stiffness is (S_l − s²)/s², and 0 for the first node.
        """
        square = self.scale**2

        def step(before: Array, weight: Array) -> tuple[Array, Array]:
            others = before + 0.5 * square * (weight**2 @ before)
            return others + square, others / square

        weights = _affine(self.blocks).weight
        first = jnp.ones(weights.shape[-1], weights.dtype)
        _, others = jax.lax.scan(step, first, weights)
        return jnp.concatenate([jnp.zeros_like(first)[None], others])

    def field_and_readout(
        self, state: States, drive: Float[Array, " width"], split: Split = Kinked.split
    ) -> tuple[States, Float[Array, " outputs"]]:
        """Computes f and h, whose pullback on a kink is that of `split`."""
        affine, readout = _affine(self.blocks), _affine(self.decoder)
        # The copy stands for every use of a state but that by its activity.
        copy, active = split(_KINKED, state)
        changes = jax.vmap(lambda weight, bias, active: weight @ active + bias)(
            affine.weight, affine.bias, active[:-1]
        )
        rates = (copy[:-1] - copy[1:]) / self.scale + changes
        return jnp.concatenate([(drive - copy[0])[None], rates]), readout(active[-1])

    def _scales(self, dtype: Any) -> Float[Array, " nodes"]:
        """Returns the scale of each node's control, 1 for the first and s for the others."""
        return jnp.full(self.depth + 1, self.scale, dtype).at[0].set(1)


_KINKED = Kinked()


def _affine(part: Module) -> Affine:
    """Returns the affine map of a part of a rectified network."""
    assert isinstance(part, ActivatedAffine)
    return part.affine


def _stacked(first: PyTree[Array], others: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, others)


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
