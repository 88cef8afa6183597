"""Deep equilibrium models: a cell iterated to its rest point, between an encoder and a decoder.

`DeepEquilibrium` takes any three modules. The cells here are the least-control paper's:
`ResidualCell` is its block, `Swapped` the same block as the published code calls it, and
`WithNodes` the same block with a state for every convolution, so that every update is local.

Batch norm belongs to the encoder and the decoder and never to the cell. `BatchNorm` is a map of one
sample, with the statistics of many as given numbers; who gives them is said at
`AbstractBatchNormalised`, which keeps a batch out of every solve.
"""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._convolutional import Convolution, check_image, check_shape, initialised_convolution
from ._convolve import ConvolutionalLayer
from ._initialisation import (
    AbstractInitialisation,
    AbstractZeroBias,
    FanInUniform,
    first_of_draw,
)
from ._system import (
    AbstractSystem,
    AbstractSystemWithoutDirectFeedback,
    Affine,
    all_matrices,
    check_size,
    relu,
)

Image = Float[Array, "channels height width"]
Nodes = tuple[Float[Array, "..."], ...]
Map = Float[Array, "maps rows columns"]
State = PyTree[Float[Array, "..."]]


class AbstractBatchNormalised(AbstractSystem):
    """A system with batch norm outside of its dynamics.

    The statistics are arrays of the system like its weights, and enter every sample's drive and
    readout as constants. `with_batch_statistics` replaces those of the encoder by a batch's own, a
    function of the weights before it: `leastcontrol.rules.WithBatchStatistics` differentiates
    through that function, so that a gradient is that of training-time batch norm, and no solve
    sees more than one sample. What follows the solve cannot depend on the batch without coupling
    its samples' controls, so the decoder's statistics are held until `calibrated` measures them
    anew, at free rest points, as it does the encoder's for evaluation.
    """

    @abc.abstractmethod
    def with_batch_statistics(self, inputs: Float[Array, "batch ..."]) -> "AbstractBatchNormalised":
        """Returns the system with its encoder's statistics those of a batch of inputs."""

    @abc.abstractmethod
    def calibrated(self, states: PyTree[Float[Array, "batch ..."]]) -> "AbstractBatchNormalised":
        """Returns the system with its decoder's statistics those of a batch of rest points."""

    def without_statistics(self, gradient: PyTree[Any]) -> PyTree[Any]:
        """Returns a gradient like the system, zero in the statistics, which are not learned."""

        def zeroed(node: Any) -> Any:
            if not isinstance(node, BatchNorm):
                return node
            held = (node.mean, node.variance)
            zeros = tuple(map(jnp.zeros_like, held))
            return eqx.tree_at(lambda own: (own.mean, own.variance), node, zeros)

        return jax.tree.map(zeroed, gradient, is_leaf=lambda node: isinstance(node, BatchNorm))


class BatchNorm(eqx.Module):
    """Batch norm of feature maps, for given statistics.

        x ↦ scale · (x − mean) / √(variance + 1e-5) + shift,  one of each for every channel

    (Ioffe and Szegedy 2015).
    """

    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]
    mean: Float[Array, " channels"]
    variance: Float[Array, " channels"]

    def __init__(self, channels: int):
        self.scale = self.variance = jnp.ones(channels)
        self.shift = self.mean = jnp.zeros(channels)

    def __call__(self, x: Image) -> Image:
        factor = self.scale / jnp.sqrt(self.variance + 1e-5)
        return factor[:, None, None] * (x - self.mean[:, None, None]) + self.shift[:, None, None]

    def with_statistics(self, batch: Float[Array, "batch channels height width"]) -> "BatchNorm":
        """Returns the map with the statistics of a batch of feature maps."""
        mean, variance = jnp.mean(batch, (0, 2, 3)), jnp.var(batch, (0, 2, 3))
        return eqx.tree_at(lambda own: (own.mean, own.variance), self, (mean, variance))


class ConvolutionalEncoder(eqx.Module):
    """A convolution and batch norm."""

    convolution: ConvolutionalLayer
    norm: BatchNorm

    def __call__(self, x: Image) -> Map:
        check_image(x, self.convolution.in_channels)
        return self.norm(self.convolution(x))


class PoolingDecoder(eqx.Module):
    """Batch norm, an average over square windows, and an affine map."""

    norm: BatchNorm
    affine: Affine
    pool: int = eqx.field(static=True)

    def __call__(self, x: Image) -> Float[Array, " outputs"]:
        channels, height, width = x.shape
        tiles = self.norm(x).reshape(
            channels, height // self.pool, self.pool, width // self.pool, self.pool
        )
        return self.affine(jnp.mean(tiles, (2, 4)).reshape(-1))


class AbstractCell(eqx.Module):
    """A cell that says where its state starts, for it is not like the encoding."""

    @abc.abstractmethod
    def initial_state(self, drive: Array) -> State:
        """Returns zeros of the state's structure and shapes."""

    @abc.abstractmethod
    def __call__(self, state: State, drive: Array) -> State:
        """Returns what the state is drawn to."""


class ResidualCell(eqx.Module):
    """The least-control paper's block, of one state.

        c(φ, e) = norm_3(σ(φ + norm_2(e + c_2 norm_1(σ(c_1 φ)))))

    (arXiv 2207.01332, equation 152): convolutions without bias, group norms with a scale and shift
    for each channel. An update of its inner weights is found by differentiating inside the block,
    and is therefore not local; `WithNodes` has the same rest points and local updates.

    **Arguments:**

    * `channels`, `inner`: feature maps of the state and between the convolutions.
    * `groups`: of the group norms; divides both.
    * `deviation`: standard deviation of the first weights.
    * `key`: for them.

    **Raises:** `ValueError` for channels that the groups do not divide.
    """

    first: ConvolutionalLayer
    second: ConvolutionalLayer
    norms: tuple[eqx.nn.GroupNorm, eqx.nn.GroupNorm, eqx.nn.GroupNorm]

    def __init__(
        self,
        channels: int,
        inner: int,
        *,
        groups: int = 8,
        deviation: float = 0.01,
        key: PRNGKeyArray,
    ):
        for name, size in (("channels", channels), ("inner", inner), ("groups", groups)):
            check_size(name, size)
        for name, size in (("channels", channels), ("inner", inner)):
            if size % groups:
                raise ValueError(
                    f"`{name}` is {size}, which {groups} groups do not divide: write "
                    f"{name}={groups * math.ceil(size / groups)}, or groups="
                    f"{math.gcd(channels, inner)}."
                )
        drawn = _Normal(deviation)
        keys = jax.random.split(key)
        out, back = Convolution(inner, padding=1), Convolution(channels, padding=1)
        self.first = initialised_convolution(channels, out, drawn, bias=False, key=keys[0])
        self.second = initialised_convolution(inner, back, drawn, bias=False, key=keys[1])
        inner_norm, *norms = (
            eqx.nn.GroupNorm(groups, size) for size in (inner, channels, channels)
        )
        self.norms = (inner_norm, norms[0], norms[1])

    def inner_activity(self, x: Image) -> Image:
        """Returns norm_1(σ(x)), what c_2 reads."""
        return self.norms[0](relu(x))

    def outer_activity(self, skip: Image, sum_of: Image) -> Image:
        """Returns norm_3(σ(skip + norm_2(sum_of))), what the state is drawn to."""
        return self.norms[2](relu(skip + self.norms[1](sum_of)))

    def __call__(self, state: Image, drive: Image) -> Image:
        inner = self.second(self.inner_activity(self.first(state)))
        return self.outer_activity(state, drive + inner)


class Swapped(eqx.Module):
    """A cell with state and encoding exchanged: c(e, φ).

    The least-control paper's published code calls its block so: the convolutions act on the
    encoding, and the state enters through a group norm alone. The paper's CIFAR-10 figures for the
    deep equilibrium model are of this reading, equation 152 is the other.
    """

    cell: Callable[[Array, Array], Array]

    def __call__(self, state: Image, drive: Image) -> Image:
        return self.cell(drive, state)


class WithNodes(AbstractCell):
    """The block with a state for every convolution: (ε, a, b, φ).

        ε → e,   a → c_1 φ,   b → c_2 norm_1(σ(a)),   φ → norm_3(σ(φ + norm_2(ε + b)))

    At rest φ is that of `ResidualCell`. Every convolution, the encoder's too, has a state of its
    own behind it and reads one before it, so every kernel's update is its own control times its own
    activity.
    """

    cell: ResidualCell

    def initial_state(self, drive: Image) -> Nodes:
        inner = jnp.zeros((self.cell.first.out_channels, *drive.shape[1:]), drive.dtype)
        zeros = jnp.zeros_like(drive)
        return zeros, inner, zeros, zeros

    def __call__(self, state: Nodes, drive: Image) -> Nodes:
        encoding, first, second, last = state
        cell = self.cell
        return (
            drive,
            cell.first(last),
            cell.second(cell.inner_activity(first)),
            cell.outer_activity(last, encoding + second),
        )


class DeepEquilibrium(AbstractBatchNormalised, AbstractSystemWithoutDirectFeedback):
    """Any cell, brought to rest between an encoder and a decoder.

        f = −φ + c(φ, E(x)),   h = R(φ)

    The rest point is unique where c contracts in φ; nothing keeps it so during training, and a
    solve that fails says so. Where the cell is one block of several layers, its gradient is exact
    and first order, but found by differentiating inside the block; a cell with a state for every
    layer, such as `WithNodes`, has local updates.

    **Arguments:**

    * `encoder`: E, a module from the input to an array, the encoding.
    * `cell`: c, a module from state and encoding to what the state is drawn to. The state has the
      encoding's shape, unless the cell is an `AbstractCell`.
    * `decoder`: R, a module from the state to the output; of a tuple of states, from the last.

    **Raises:** `ValueError` where the cell's output does not match its state, when the system first
    meets an input.
    """

    unit_rate: ClassVar[bool] = True
    encoder: Callable[[Array], Array]
    cell: Callable[[Any, Array], Any]
    decoder: Callable[[Array], Array]
    output_neurons: bool = eqx.field(static=True, default=True)

    def __init__(
        self,
        encoder: Callable[[Array], Array],
        cell: Callable[[Any, Array], Any],
        decoder: Callable[[Array], Array],
    ):
        self.encoder, self.cell, self.decoder = encoder, cell, decoder
        self.output_neurons = True

    def drive(self, x: Array) -> Float[Array, "..."]:
        """Returns E(x)."""
        return self.encoder(x)

    def initial_state(self, drive: Float[Array, "..."]) -> State:
        """Returns zeros, after checking the cell against them."""
        cell = self.cell
        start = (
            cell.initial_state(drive) if isinstance(cell, AbstractCell) else jnp.zeros_like(drive)
        )
        made = eqx.filter_eval_shape(cell, start, drive)
        if _described(made) != _described(start):
            raise ValueError(
                f"The cell makes {_described(made)} from a state of {_described(start)}, but a "
                "state at rest is what its cell makes of it: give a cell that keeps the structure, "
                "shapes and dtypes of its state."
            )
        return start

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    def vector_field(self, state: State, drive: Float[Array, "..."]) -> State:
        """Returns c(φ, E(x)) − φ."""
        return jax.tree.map(jnp.subtract, self.cell(state, drive), state)

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Returns R(φ)."""
        return self.decoder(_last(state))

    def with_batch_statistics(self, inputs: Float[Array, "batch ..."]) -> "DeepEquilibrium":
        """Returns the system with its encoder's statistics those of a batch, if it has any."""
        if not isinstance(self.encoder, ConvolutionalEncoder):
            return self
        made = jax.vmap(self.encoder.convolution)(inputs)
        norm = self.encoder.norm.with_statistics(made)
        return eqx.tree_at(lambda own: own.encoder.norm, self, norm)  # pyright: ignore

    def calibrated(self, states: PyTree[Float[Array, "batch ..."]]) -> "DeepEquilibrium":
        """Returns the system with its decoder's statistics those of rest points, if it has any."""
        if not isinstance(self.decoder, PoolingDecoder):
            return self
        norm = self.decoder.norm.with_statistics(_last(states))
        return eqx.tree_at(lambda own: own.decoder.norm, self, norm)  # pyright: ignore


def convolutional_deep_equilibrium(
    shape: tuple[int, int, int],
    outputs: int,
    *,
    channels: int = 48,
    inner: int = 64,
    groups: int = 8,
    pool: int = 8,
    stride: int = 1,
    make_cell: Callable[[ResidualCell], Callable[[Any, Array], Any]] | None = None,
    initialisation: AbstractInitialisation | None = None,
    key: PRNGKeyArray,
) -> DeepEquilibrium:
    """Returns the least-control paper's deep equilibrium model (arXiv 2207.01332, section S4).

    A 3 × 3 convolution with batch norm, the block of equation 152, batch norm, an average pool and
    an affine readout.

    **Arguments:**

    * `shape`: of an image, (channels, height, width).
    * `outputs`: size of y, in neurons.
    * `channels`, `inner`, `groups`: of the `ResidualCell`.
    * `pool`: size of the average pool's windows, in pixels of the state's maps; divides their
      height and width.
    * `stride`: of the encoder's convolution, in pixels; 1 in the paper. The state's maps have that
      many times fewer rows and columns than the image, so that every step of a solve costs its
      square less.
    * `make_cell`: from the block to the cell: `Swapped`, `WithNodes`, or the block itself.
    * `initialisation`: of encoder and decoder.
    * `key`: for all weights.

    **Raises:** `ValueError` for a size below one, channels that the groups do not divide, or maps
    that the pool does not divide.
    """
    check_shape(shape)
    for name, size in (("outputs", outputs), ("pool", pool), ("stride", stride)):
        check_size(name, size)
    height, width = ((extent - 1) // stride + 1 for extent in shape[1:])
    if height % pool or width % pool:
        divisor = math.gcd(height, width)
        fitting = max(n for n in range(1, min(pool, divisor) + 1) if divisor % n == 0)
        maps = "an image" if stride == 1 else f"the maps behind a stride of {stride}, those"
        raise ValueError(
            f"Windows of {pool} × {pool} pixels do not divide {maps} of {height} × {width}: "
            f"write pool={fitting}, or crop the images."
        )
    drawn = FanInUniform() if initialisation is None else initialisation
    keys = jax.random.split(key, 3)
    encoder = ConvolutionalEncoder(
        initialised_convolution(
            shape[0], Convolution(channels, stride=stride, padding=1), drawn, key=keys[0]
        ),
        BatchNorm(channels),
    )
    block = ResidualCell(channels, inner, groups=groups, key=keys[1])
    features = channels * (height // pool) * (width // pool)
    decoder = PoolingDecoder(
        BatchNorm(channels), Affine.initialise(features, outputs, drawn, key=keys[2]), pool
    )
    cell = block if make_cell is None else make_cell(block)
    return DeepEquilibrium(encoder, cell, decoder)


class _Normal(AbstractZeroBias):
    deviation: float

    def weight(
        self, key: PRNGKeyArray, outputs: int, inputs: int
    ) -> Float[Array, "{outputs} {inputs}"]:
        return self.deviation * first_of_draw(jax.random.normal, key, outputs, inputs)


def _last(state: State) -> Array:
    return state[-1] if isinstance(state, tuple) else state


def _described(tree: PyTree) -> str:
    shapes = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    return " and ".join(shapes) + (" in a tuple" if isinstance(tree, tuple) else "")
