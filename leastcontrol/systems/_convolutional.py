"""A convolutional feedforward network as a system whose rest point is its forward pass.

The state holds the pre-activations of every layer, feature maps first and vectors after them. What
lies between two states, the activation and a max-pool, belongs to the layer that reads them, so
that one pass settles the network and every weight has a state of its own to read its control from.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._convolve import ConvolutionalLayer
from ._initialisation import AbstractInitialisation, FanInUniform
from ._kinks import Kinked
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

Image = Float[Array, "channels height width"]
Map = Float[Array, "maps rows columns"]
State = tuple[Float[Array, "..."], ...]


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The maximum over square windows of each feature map.

    **Arguments:**

    * `size`, `stride`: of the windows, in pixels; windows that do not overlap by default.
    * `crop`: whether rows and columns behind the last whole window are left out. If not, they are
      refused.

    **Raises:** `ValueError` for a size or stride below one.
    """

    size: int
    stride: int | None = None
    crop: bool = False

    def __post_init__(self):
        check_size("size", self.size)
        if self.stride is not None:
            check_size("stride", self.stride)

    def __call__(self, x: Image) -> Map:
        stride = self.size if self.stride is None else self.stride
        channels, *extents = x.shape
        counts = [(extent - self.size) // stride + 1 for extent in extents]
        remainders = [(extent - self.size) % stride for extent in extents]
        if min(extents) < self.size or (any(remainders) and not self.crop):
            raise ValueError(
                f"Windows of {self.size} pixels, {stride} apart, do not cover a feature map of "
                f"{extents[0]} × {extents[1]} pixels: choose another padding, kernel or pool, or "
                f"write MaxPool({self.size}, stride={stride}, crop=True) to leave out what the "
                "last whole window does not reach."
            )
        # A maximum of shifted views: on a CPU its derivative is several times faster than that of
        # a windowed reduction, and is called in every sweep of a solve.
        pooled = None
        for row in range(self.size):
            for column in range(self.size):
                ends = [
                    first + (count - 1) * stride + 1
                    for first, count in zip((row, column), counts, strict=True)
                ]
                view = lax.slice(x, (0, row, column), (channels, *ends), (1, stride, stride))
                pooled = view if pooled is None else jnp.maximum(pooled, view)
        assert pooled is not None
        return pooled


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The shape of one convolutional layer.

    **Arguments:**

    * `channels`: of the feature maps that it makes.
    * `kernel`, `stride`, `padding`: in pixels, of both axes.
    * `pool`: of the layer's activity, before the next layer reads it.

    **Raises:** `ValueError` for a size below one or a negative padding.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    pool: MaxPool | None = None

    def __post_init__(self):
        for name in ("channels", "kernel", "stride"):
            check_size(name, getattr(self, name))
        if self.padding < 0:
            raise ValueError(
                f"`padding` is {self.padding}, but it is a number of pixels of at least 0: write "
                "padding=1."
            )


PAPER_CONVOLUTIONS = (
    Convolution(96, kernel=5, padding=1, pool=MaxPool(3, stride=2, crop=True)),
    Convolution(128, kernel=5, stride=2, padding=1),
    Convolution(256, kernel=5, stride=2, padding=1),
)
"""The paper's (arXiv 2207.01332, section S4), for images of 3 × 32 × 32 and two layers of 2048."""
SMALL_CONVOLUTIONS = (
    Convolution(16, kernel=3, padding=1, pool=MaxPool(2)),
    Convolution(32, kernel=3, padding=1, pool=MaxPool(2)),
)
"""With one layer of 56 behind it, 93 234 weights for images of 1 × 28 × 28 and ten classes."""
STRIDED_CONVOLUTIONS = (
    Convolution(16, kernel=5, stride=2, padding=2),
    Convolution(32, kernel=5, stride=2, padding=2),
)
"""Likewise without pools, with a layer of 48 behind it: 89 050 weights. A sweep on kinks is several
times faster without a pool's windows to solve."""


class ConvolutionalFeedforward(AbstractRectifiedSystem, AbstractSystemWithoutDirectFeedback):
    """Convolutional layers, fully connected ones behind them, and a linear readout.

        f_1 = −φ_1 + W_1 ∗ x + b_1
        f_i = −φ_i + W_i ∗ pool_{i−1}(σ(φ_{i−1})) + b_i,   i = 2 … L
        h   = W_{L+1} pool_L(σ(φ_L)) + b_{L+1}

    where W ∗ is a convolution for the feature maps and a matrix behind them, and pool_i a
    max-pool where layer i has one (arXiv 2207.01332, section S4). At rest without control this is
    the ordinary forward pass.

    **Arguments:**

    * `shape`: of an image, (channels, height, width).
    * `convolutions`: the convolutional layers, at least one.
    * `hidden`: sizes of the fully connected layers behind them, any number.
    * `outputs`: size of y, in neurons.
    * `activation`: σ, elementwise; `relu` as in the paper.
    * `initialisation`: of every weight and bias; a kernel is a matrix of
      (channels, channels before · kernel²).
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one, no convolution, or an image that is too small
    for a kernel or is not covered by a pool.
    """

    unit_rate: ClassVar[bool] = True
    convolutions: tuple[ConvolutionalLayer, ...]
    dense: tuple[Affine, ...]
    pools: tuple[MaxPool | None, ...] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        convolutions: Sequence[Convolution],
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: Activation = relu,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        check_shape(shape)
        if len(convolutions) == 0:
            raise ValueError(
                "`convolutions` is empty, but a convolutional system has at least one such layer: "
                "write convolutions=(Convolution(16, padding=1),)."
            )
        for size in (*hidden, outputs):
            check_size("hidden and outputs", size)
        initialisation = FanInUniform() if initialisation is None else initialisation
        keys = iter(jax.random.split(key, len(convolutions) + len(hidden) + 1))
        layers = []
        for number, own in enumerate(convolutions, start=1):
            if min(shape[1:]) + 2 * own.padding < own.kernel:
                raise ValueError(
                    f"Convolution {number} has a kernel of {own.kernel} pixels, but meets feature "
                    f"maps of {shape[1]} × {shape[2]} with a padding of {own.padding}: choose a "
                    "smaller kernel, a larger padding, or fewer layers."
                )
            layer = initialised_convolution(shape[0], own, initialisation, key=next(keys))
            layers.append(layer)
            made = eqx.filter_eval_shape(
                lambda x, layer=layer, own=own: _pooled(own.pool, layer(x)),
                jax.ShapeDtypeStruct(shape, layer.weight.dtype),
            )
            shape = made.shape
        self.convolutions = tuple(layers)
        self.pools = tuple(own.pool for own in convolutions)
        sizes = (shape[0] * shape[1] * shape[2], *hidden, outputs)
        self.dense = tuple(
            Affine.initialise(before, after, initialisation, key=next(keys))
            for before, after in itertools.pairwise(sizes)
        )
        self.activation = activation
        self.output_neurons = True

    def drive(self, x: Image) -> Map:
        """Returns W_1 ∗ x + b_1."""
        check_image(x, self.convolutions[0].in_channels)
        return self.convolutions[0](x)

    def initial_state(self, drive: Map) -> State:
        """Returns zeros."""
        shapes = eqx.filter_eval_shape(lambda drive: self._layers(drive, None), drive)
        return tuple(jnp.zeros(own.shape, own.dtype) for own in shapes)

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: State, drive: Map) -> State:
        """Returns (f_1, …, f_L)."""
        targets = [drive]
        for index, before in enumerate(state[:-1]):
            targets.append(self._next(index, before))
        return tuple(target - phi for target, phi in zip(targets, state, strict=True))

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Returns W_{L+1} pool_L(σ(φ_L)) + b_{L+1}."""
        return self._next(len(state) - 1, state[-1])

    def settle(self, drive: Map, control: State) -> State:
        """Returns φ_i = W_i ∗ pool_{i−1}(σ(φ_{i−1})) + b_i + ψ_i, layer after layer."""
        return self._layers(drive, control)

    @property
    def rectified(self) -> bool:
        return self.activation is relu and all(
            pool is None or (pool.stride in (None, pool.size) and not pool.crop)
            for pool in self.pools
        )

    def initial_signals(self, drive: Map) -> State:
        """Returns zeros of the shapes of the pooled activities."""
        shapes = eqx.filter_eval_shape(
            lambda drive: tuple(map(self._activity, range(self._count), self._layers(drive, None))),
            drive,
        )
        return tuple(jnp.zeros(own.shape, own.dtype) for own in shapes)

    def settle_by_signals(self, drive: Map, signals: State, last: State) -> SettledOnKinks:
        """Returns what the signals settle the network to, layer after layer."""
        targets, states, controls, backs, target = [], [], [], [], drive
        for index, (signal, before) in enumerate(zip(signals, last, strict=True)):
            kinked = self._kinked(index)
            state, control = kinked.settle(target, signal, before)
            targets.append(target)
            states.append(state)
            controls.append(control)
            behind = functools.partial(self._behind, index)
            target, back = jax.vjp(behind, kinked.activity(state))
            backs.append(back)

        def answer(
            output_control: Float[Array, " outputs"], before: State, stiffness: State
        ) -> tuple[State, State, State]:
            sent, asked, missing, behind = [], [], [], output_control
            for index in reversed(range(len(states))):
                kinked, state = self._kinked(index), states[index]
                (signal,) = backs[index](behind)
                behind = kinked.answer(
                    targets[index], signal, state, before[index], stiffness[index]
                )
                sent.append(signal)
                asked.append(behind)
                missing.append(kinked.unanswered(state, signal, behind))
            return tuple(sent[::-1]), tuple(asked[::-1]), tuple(missing[::-1])

        return SettledOnKinks(tuple(states), tuple(controls), target, answer)

    def stiffness(self) -> State:
        """Returns κ_i = ½ Σ_j W_ij² (1 + κ_j), with half of the units before a layer active."""
        found = [jnp.zeros(())]
        for layer in (*self.convolutions[1:], *self.dense[:-1]):
            square = layer.weight**2
            if square.ndim == 4:
                square = jnp.sum(square, axis=(2, 3))
            before = 1 + found[-1].reshape(-1)
            before = jnp.repeat(before, square.shape[1] // before.size)
            own = 0.5 * square @ before
            found.append(own[:, None, None] if layer.weight.ndim == 4 else own)
        return tuple(found)

    def field_and_readout(self, state: State, drive: Map) -> tuple[State, Float[Array, " outputs"]]:
        """Returns f and h, with a pullback that takes the generalised gradient on a kink."""
        field, target = [], drive
        for index, phi in enumerate(state):
            copy, active = self._kinked(index).split(phi)
            field.append(target - copy)
            target = self._behind(index, active)
        return tuple(field), target

    @property
    def _count(self) -> int:
        return len(self.convolutions) + len(self.dense) - 1

    def _layers(self, drive: Array, control: State | None) -> State:
        state = [drive if control is None else drive + control[0]]
        for index in range(self._count - 1):
            target = self._next(index, state[-1])
            state.append(target if control is None else target + control[index + 1])
        return tuple(state)

    def _next(self, index: int, state: Array) -> Array:
        """Returns what the layer behind layer `index` makes of its state."""
        return self._behind(index, self._activity(index, state))

    def _activity(self, index: int, state: Array) -> Array:
        activity = self.activation(state)
        return _pooled(self.pools[index], activity) if index < len(self.pools) else activity

    def _behind(self, index: int, activity: Array) -> Array:
        if index + 1 < len(self.convolutions):
            return self.convolutions[index + 1](activity)
        return self.dense[index + 1 - len(self.convolutions)](activity.reshape(-1))

    def _kinked(self, index: int) -> Kinked:
        pool = self.pools[index] if index < len(self.pools) else None
        return Kinked() if pool is None else Kinked(pool.size)


def initialised_convolution(
    channels: int,
    convolution: Convolution,
    initialisation: AbstractInitialisation,
    *,
    bias: bool = True,
    key: PRNGKeyArray,
) -> ConvolutionalLayer:
    """Returns a convolution whose kernel is drawn as a matrix by an initialisation."""
    weight_key, bias_key = jax.random.split(key)
    size, made = convolution.kernel, convolution.channels
    fan_in = channels * size**2
    weight = initialisation.weight(weight_key, made, fan_in).reshape(made, channels, size, size)
    drawn = initialisation.bias(bias_key, made, fan_in).reshape(made, 1, 1) if bias else None
    return ConvolutionalLayer(weight, drawn, convolution.stride, convolution.padding)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuses what is not the shape of an image."""
    if len(shape) != 3 or any(isinstance(n, bool) or n < 1 for n in shape):
        raise ValueError(
            f"`shape` is {shape}, but an image is (channels, height, width), each at least 1: "
            "write shape=(1, 28, 28)."
        )


def check_image(x: Array, channels: int) -> None:
    """Refuses an input that is not an image of so many channels.

    **Raises:** `TypeError`, as a matrix product of wrong sizes does.
    """
    if x.ndim != 3 or x.shape[0] != channels:
        raise TypeError(
            f"an image of shape ({channels}, height, width) is expected: give inputs of shape "
            f"(batch, {channels}, height, width)."
        )


def _pooled(pool: MaxPool | None, x: Image) -> Map:
    return x if pool is None else pool(x)
