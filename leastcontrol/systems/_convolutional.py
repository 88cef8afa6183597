"""A convolutional feedforward network whose rest point is its forward pass.

The state holds the pre-activations of every layer: the feature maps, then the vectors of the dense
layers. Activation and max-pool belong to the layer that reads the state. So one pass settles the
network, and every weight feeds exactly one state, whose control drives its update.
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

from ._chain import (
    Layers,
    chain_field_and_readout,
    chain_stiffness,
    settle_chain_by_signals,
)
from ._convolve import ConvolutionalLayer
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

Image = Float[Array, "channels height width"]
Map = Float[Array, "maps rows columns"]
State = tuple[Float[Array, "..."], ...]


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The maximum over square windows of each feature map.

    **Arguments:**

    * `size`, `stride`: of the windows, in pixels; by default windows do not overlap.
    * `crop`: whether to drop rows and columns beyond the last whole window; if not, an image with
      such rows or columns is an error.

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
        extents = x.shape[1:]
        remainders = [(extent - self.size) % stride for extent in extents]
        if min(extents) < self.size or (any(remainders) and not self.crop):
            raise ValueError(
                f"Windows of {self.size} pixels, {stride} apart, do not cover a feature map of "
                f"{extents[0]} × {extents[1]} pixels: choose another padding, kernel or pool, or "
                f"write MaxPool({self.size}, stride={stride}, crop=True) to leave out what the "
                "last whole window does not reach."
            )
        if stride == self.size and not any(remainders):
            return _largest_in_tiles(x, self.size)
        return _largest(x, self.size, stride)


def _views(x: Image, size: int, stride: int) -> list[Map]:
    """Returns the pixels at each place of a window, over all windows."""
    channels, *extents = x.shape
    reach = [(extent - size) // stride * stride + 1 for extent in extents]
    return [
        lax.slice(
            x,
            (0, row, column),
            (channels, row + reach[0], column + reach[1]),
            (1, stride, stride),
        )
        for row, column in itertools.product(range(size), repeat=2)
    ]


def _largest(x: Image, size: int, stride: int) -> Map:
    # A maximum of shifted views, because on a CPU its derivative, which every sweep of a solve
    # needs, is several times faster than that of a windowed reduction.
    return functools.reduce(jnp.maximum, _views(x, size, stride))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest_in_tiles(x: Image, size: int) -> Map:
    """Computes the maximum of each window, of windows that do not overlap and leave nothing out.

    Pixels that are equally large share the derivative. It is a product in the layout of the image:
    the derivatives of the views would be as many padded images and their sum.
    """
    return _largest(x, size, size)


def _largest_in_tiles_tangent(
    size: int, primals: tuple[Image], tangents: tuple[Image]
) -> tuple[Map, Map]:
    (x,), (tangent,) = primals, tangents
    largest = _largest_in_tiles(x, size)
    equals = functools.reduce(
        jnp.add, [(view == largest).astype(x.dtype) for view in _views(x, size, size)]
    )
    # Where a window holds NaN nothing equals its maximum, and 0/0 keeps the derivative NaN.
    shares = (x == _in_tiles(largest, size)).astype(x.dtype) / _in_tiles(equals, size)
    maps, rows, columns = largest.shape
    tiles = (shares * tangent).reshape(maps, rows, size, columns, size)
    return largest, tiles.sum((2, 4))


_largest_in_tiles.defjvp(_largest_in_tiles_tangent)


def _in_tiles(x: Map, size: int) -> Image:
    maps, rows, columns = x.shape
    tiles = jnp.broadcast_to(x[:, :, None, :, None], (maps, rows, size, columns, size))
    return tiles.reshape(maps, rows * size, columns * size)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The shape of one convolutional layer.

    **Arguments:**

    * `channels`: number of output feature maps.
    * `kernel`, `stride`, `padding`: in pixels, for both axes.
    * `pool`: max-pool of the layer's activity, applied before the next layer reads it.

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
"""The paper's layers (arXiv 2207.01332, section S4), for images of 3 × 32 × 32; two dense layers of
2048 follow them."""
SMALL_CONVOLUTIONS = (
    Convolution(16, kernel=3, padding=1, pool=MaxPool(2)),
    Convolution(32, kernel=3, padding=1, pool=MaxPool(2)),
)
"""Two small layers for images of 1 × 28 × 28. With one dense layer of 56 and ten classes the
network has 93 234 weights."""
STRIDED_CONVOLUTIONS = (
    Convolution(16, kernel=5, stride=2, padding=2),
    Convolution(32, kernel=5, stride=2, padding=2),
)
"""Like `SMALL_CONVOLUTIONS` but without pools; with one dense layer of 48 the network has 89 050
weights. A sweep on kinks is several times faster without pooling windows."""


class ConvolutionalFeedforward(AbstractRectifiedSystem, AbstractSystemWithoutDirectFeedback):
    """Convolutional layers, followed by fully connected layers and a linear readout.

        f_1 = −φ_1 + W_1 ∗ x + b_1
        f_i = −φ_i + W_i ∗ pool_{i−1}(σ(φ_{i−1})) + b_i,   i = 2 … L
        h   = W_{L+1} pool_L(σ(φ_L)) + b_{L+1}

    where W ∗ is a convolution for feature maps and a matrix product for dense layers, and pool_i is
    the max-pool of layer i, if it has one (arXiv 2207.01332, section S4). At rest without control
    this is the ordinary forward pass.

    **Arguments:**

    * `shape`: of an image, (channels, height, width).
    * `convolutions`: the convolutional layers, at least one.
    * `hidden`: sizes of the fully connected layers that follow, possibly none.
    * `outputs`: size of y, in neurons.
    * `activation`: σ, elementwise; `relu` as in the paper.
    * `initialisation`: of every weight and bias; a kernel is drawn as a matrix of shape
      (channels, input channels · kernel²).
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one, no convolution, an image too small for a kernel,
    or feature maps that a pool does not cover.
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
        for number, spec in enumerate(convolutions, start=1):
            if min(shape[1:]) + 2 * spec.padding < spec.kernel:
                raise ValueError(
                    f"Convolution {number} has a kernel of {spec.kernel} pixels, but meets feature "
                    f"maps of {shape[1]} × {shape[2]} with a padding of {spec.padding}: choose a "
                    "smaller kernel, a larger padding, or fewer layers."
                )
            layer = initialised_convolution(shape[0], spec, initialisation, key=next(keys))
            layers.append(layer)
            output = eqx.filter_eval_shape(
                lambda x, layer=layer, spec=spec: _pooled(spec.pool, layer(x)),
                jax.ShapeDtypeStruct(shape, layer.weight.dtype),
            )
            shape = output.shape
        self.convolutions = tuple(layers)
        self.pools = tuple(spec.pool for spec in convolutions)
        sizes = (shape[0] * shape[1] * shape[2], *hidden, outputs)
        self.dense = tuple(
            Affine.initialise(before, after, initialisation, key=next(keys))
            for before, after in itertools.pairwise(sizes)
        )
        self.activation = activation
        self.output_neurons = True

    def drive(self, x: Image) -> Map:
        """Computes W_1 ∗ x + b_1."""
        check_image(x, self.convolutions[0].in_channels)
        return self.convolutions[0](x)

    def initial_state(self, drive: Map) -> State:
        """Returns zeros."""
        shapes = eqx.filter_eval_shape(lambda drive: self._layers(drive, None), drive)
        return tuple(jnp.zeros(shape.shape, shape.dtype) for shape in shapes)

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: State, drive: Map) -> State:
        """Computes (f_1, …, f_L)."""
        targets = [drive]
        for index, before in enumerate(state[:-1]):
            targets.append(self._next(index, before))
        return tuple(target - phi for target, phi in zip(targets, state, strict=True))

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Computes W_{L+1} pool_L(σ(φ_L)) + b_{L+1}."""
        return self._next(len(state) - 1, state[-1])

    def settle(self, drive: Map, control: State) -> State:
        """Computes φ_i = W_i ∗ pool_{i−1}(σ(φ_{i−1})) + b_i + ψ_i, layer after layer."""
        return self._layers(drive, control)

    @property
    def rectified(self) -> bool:
        return self.activation is relu and all(
            pool is None or (pool.stride in (None, pool.size) and not pool.crop)
            for pool in self.pools
        )

    def initial_signals(self, drive: Map) -> State:
        """Returns zeros with the shapes of the pooled activities."""
        shapes = eqx.filter_eval_shape(
            lambda drive: tuple(map(self._activity, range(self._count), self._layers(drive, None))),
            drive,
        )
        return tuple(jnp.zeros(shape.shape, shape.dtype) for shape in shapes)

    def settle_by_signals(self, drive: Map, signals: State, last: State) -> SettledOnKinks:
        """Settles the network under signals, layer after layer."""
        return settle_chain_by_signals(self._chain(), drive, signals, last)

    def stiffness(self) -> State:
        """Estimates κ_i = ½ Σ_j W_ij² (1 + κ_j), assuming that half of the units are active."""
        layers = (*self.convolutions[1:], *self.dense[:-1])
        return chain_stiffness([layer.weight for layer in layers])

    def field_and_readout(
        self, state: State, drive: Map, split: Split = Kinked.split
    ) -> tuple[State, Float[Array, " outputs"]]:
        """Computes f and h, whose pullback on a kink is that of `split`."""
        return chain_field_and_readout(self._chain(), state, drive, split)

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
        """Computes the input of the layer after layer `index` from the state of layer `index`."""
        return self._layer_after(index, self._activity(index, state))

    def _activity(self, index: int, state: Array) -> Array:
        activity = self.activation(state)
        return _pooled(self.pools[index], activity) if index < len(self.pools) else activity

    def _layer_after(self, index: int, activity: Array) -> Array:
        if index + 1 < len(self.convolutions):
            return self.convolutions[index + 1](activity)
        return self.dense[index + 1 - len(self.convolutions)](activity.reshape(-1))

    def _chain(self) -> Layers:
        return [
            (self._kinked(index), functools.partial(self._layer_after, index))
            for index in range(self._count)
        ]

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
    """Draws a convolution, with its kernel initialised as a matrix."""
    weight_key, bias_key = jax.random.split(key)
    size, maps = convolution.kernel, convolution.channels
    fan_in = channels * size**2
    weight = initialisation.weight(weight_key, maps, fan_in).reshape(maps, channels, size, size)
    shift = initialisation.bias(bias_key, maps, fan_in).reshape(maps, 1, 1) if bias else None
    return ConvolutionalLayer(weight, shift, convolution.stride, convolution.padding)


def check_shape(shape: tuple[int, ...]) -> None:
    """Raises `ValueError` if `shape` is not the shape of an image."""
    if len(shape) != 3 or any(isinstance(n, bool) or n < 1 for n in shape):
        raise ValueError(
            f"`shape` is {shape}, but an image is (channels, height, width), each at least 1: "
            "write shape=(1, 28, 28)."
        )


def check_image(x: Array, channels: int) -> None:
    """Raises an error if the input is not an image with that number of channels.

    **Raises:** `TypeError`, as a matrix product of wrong sizes does.
    """
    if x.ndim != 3 or x.shape[0] != channels:
        raise TypeError(
            f"an image of shape ({channels}, height, width) is expected: give inputs of shape "
            f"(batch, {channels}, height, width)."
        )


def _pooled(pool: MaxPool | None, x: Image) -> Map:
    return x if pool is None else pool(x)
