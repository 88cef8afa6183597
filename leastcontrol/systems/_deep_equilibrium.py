"""Deep equilibrium models: a cell at its rest point, between an encoder and a decoder.

`DeepEquilibrium` takes any three modules. The cells here are those of the least-control paper:
`ResidualCell` is its block, `Swapped` is the block as the published code calls it, and `WithNodes`
is the block with a state for every convolution, so that every update is local.

Only the encoder and the decoder have batch norm, never the cell. `BatchNorm` maps one sample, with
the batch statistics stored as constants. `AbstractBatchNormalised` explains how these are updated
without coupling the samples of a solve.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

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
    AbstractInnerKinks,
    AbstractSystem,
    AbstractSystemWithoutDirectFeedback,
    Affine,
    Rectifier,
    all_matrices,
    check_size,
    relu,
)

Image = Float[Array, "channels height width"]
Nodes = tuple[Float[Array, "..."], ...]
Map = Float[Array, "maps rows columns"]
State = PyTree[Float[Array, "..."]]


class AbstractBatchNormalised(AbstractSystem):
    """A system with batch norm outside its dynamics.

    The statistics are arrays of the system, like its weights, and enter drive and readout as
    constants, so that a solve sees one sample. `with_batch_statistics` sets the encoder's
    statistics to those of a batch, as a function of the weights before it.
    `leastcontrol.rules.WithBatchStatistics` differentiates through that function, which gives the
    gradient of ordinary batch norm. The decoder follows the solve, so batch statistics there would
    couple the controls of the samples. Its statistics stay fixed until `calibrated` measures them
    at free equilibria.
    """

    @abc.abstractmethod
    def with_batch_statistics(self, inputs: Float[Array, "batch ..."]) -> "AbstractBatchNormalised":
        """Sets the encoder's statistics to those of a batch of inputs."""

    @abc.abstractmethod
    def calibrated(self, states: PyTree[Float[Array, "batch ..."]]) -> "AbstractBatchNormalised":
        """Sets the decoder's statistics to those of a batch of rest points."""

    def without_statistics(self, gradient: PyTree[Any]) -> PyTree[Any]:
        """Sets a gradient to zero in the statistics, which are not learned."""

        def zeroed(node: Any) -> Any:
            if not isinstance(node, BatchNorm):
                return node
            statistics = (node.mean, node.variance)
            zeros = tuple(map(jnp.zeros_like, statistics))
            return eqx.tree_at(lambda norm: (norm.mean, norm.variance), node, zeros)

        return jax.tree.map(zeroed, gradient, is_leaf=lambda node: isinstance(node, BatchNorm))


class BatchNorm(eqx.Module):
    """Batch norm of feature maps with given statistics.

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
        """Sets mean and variance to those of a batch of feature maps."""
        mean, variance = jnp.mean(batch, (0, 2, 3)), jnp.var(batch, (0, 2, 3))
        return eqx.tree_at(lambda norm: (norm.mean, norm.variance), self, (mean, variance))


class ConvolutionalEncoder(eqx.Module):
    """A convolution followed by batch norm."""

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
    """A cell whose state differs in shape from the encoding, with an initial state."""

    @abc.abstractmethod
    def initial_state(self, drive: Array) -> State:
        """Returns zeros with the structure and shapes of the state."""

    @abc.abstractmethod
    def __call__(self, state: State, drive: Array) -> State:
        """Computes c(φ, e), the state to which φ decays."""


class AbstractRectifiedCell(eqx.Module):
    """A cell that may have rectified units."""

    @property
    @abc.abstractmethod
    def rectified(self) -> bool:
        """Whether the cell has rectified units."""

    @abc.abstractmethod
    def through(self, state: State, drive: Array, rectify: Rectifier) -> State:
        """Computes c(φ, e) with `rectify` in the place of relu (`AbstractInnerKinks`)."""


class ResidualCell(AbstractRectifiedCell):
    """The block of the least-control paper, with one state.

        c(φ, e) = norm_3(σ(φ + norm_2(e + c_2 norm_1(σ(c_1 φ)))))

    (arXiv 2207.01332, equation 152). The convolutions have no bias; the group norms have a scale
    and a shift for each channel. The updates of the inner weights differentiate inside the block
    and are therefore not local; `WithNodes` has the same rest points and local updates.

    **Arguments:**

    * `channels`, `inner`: number of feature maps of the state and between the convolutions.
    * `groups`: number of groups of the group norms; must divide both.
    * `deviation`: standard deviation of the initial weights.
    * `key`: for the initial weights.

    **Raises:** `ValueError` if the groups do not divide `channels` and `inner`.
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

    @property
    def rectified(self) -> bool:
        """True."""
        return True

    def inner_activity(self, x: Image, rectify: Rectifier = relu) -> Image:
        """Computes norm_1(σ(x)), the input of c_2."""
        return self.norms[0](rectify(x))

    def outer_activity(self, skip: Image, sum_of: Image, rectify: Rectifier = relu) -> Image:
        """Computes norm_3(σ(skip + norm_2(sum_of))), the state to which φ decays."""
        return self.norms[2](rectify(skip + self.norms[1](sum_of)))

    def block(self, first: Image, second: Image, inner: Rectifier, outer: Rectifier) -> Image:
        """Computes the block with `inner` and `outer` in the places of its two relus."""
        convolved = self.second(self.inner_activity(self.first(first), inner))
        return self.outer_activity(first, second + convolved, outer)

    def through(self, state: Image, drive: Image, rectify: Rectifier) -> Image:
        return self.block(state, drive, rectify, rectify)

    def __call__(self, state: Image, drive: Image) -> Image:
        return self.through(state, drive, relu)


class Swapped(AbstractRectifiedCell):
    """A cell with state and encoding exchanged: c(e, φ).

    The published code of the least-control paper calls its block in this way: the convolutions act
    on the encoding, and the state enters only through a group norm. The paper's CIFAR-10 results
    for the deep equilibrium model use this form, whereas equation 152 describes the other one.
    """

    cell: Callable[[Array, Array], Array]

    @property
    def rectified(self) -> bool:
        """Whether the cell is the block, of which it is known."""
        return isinstance(self.cell, ResidualCell)

    def through(self, state: Image, drive: Image, rectify: Rectifier) -> Image:
        assert isinstance(self.cell, ResidualCell)
        # The units between the convolutions depend on the encoding alone.
        return self.cell.block(drive, state, relu, rectify)

    def __call__(self, state: Image, drive: Image) -> Image:
        return self.cell(drive, state)


class WithNodes(AbstractCell, AbstractRectifiedCell):
    """The block with a state for every convolution: (ε, a, b, φ).

        ε → e,   a → c_1 φ,   b → c_2 norm_1(σ(a)),   φ → norm_3(σ(φ + norm_2(ε + b)))

    At rest φ equals that of `ResidualCell`. Every convolution, including the encoder's, maps one
    state to another, so the update of a kernel is the control after it times the activity before.
    """

    cell: ResidualCell

    def initial_state(self, drive: Image) -> Nodes:
        inner = jnp.zeros((self.cell.first.out_channels, *drive.shape[1:]), drive.dtype)
        zeros = jnp.zeros_like(drive)
        return zeros, inner, zeros, zeros

    @property
    def rectified(self) -> bool:
        """True."""
        return True

    def through(self, state: Nodes, drive: Image, rectify: Rectifier) -> Nodes:
        encoding, first, second, last = state
        cell = self.cell
        return (
            drive,
            cell.first(last),
            cell.second(cell.inner_activity(first, rectify)),
            cell.outer_activity(last, encoding + second, rectify),
        )

    def __call__(self, state: Nodes, drive: Image) -> Nodes:
        return self.through(state, drive, relu)


class DeepEquilibrium(
    AbstractInnerKinks, AbstractBatchNormalised, AbstractSystemWithoutDirectFeedback
):
    """A cell at its rest point, between an encoder and a decoder.

        f = −φ + c(φ, E(x)),   h = R(φ)

    The rest point is unique where c contracts in φ. Training does not enforce this; a solve that
    fails reports it in its result. If the cell is one block of several layers, its gradient is
    exact, but it differentiates inside the block. A cell with a state for every layer, such as
    `WithNodes`, has local updates.

    **Arguments:**

    * `encoder`: E, a module that maps the input to an array, the encoding.
    * `cell`: c, a module that maps state and encoding to the state to which φ decays. The state has
      the shape of the encoding, unless the cell is an `AbstractCell`.
    * `decoder`: R, a module that maps the state to the output; it reads the last of several states.

    **Raises:** `ValueError` at the first input if the cell's output does not match its state.
    """

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
        """Computes E(x)."""
        return self.encoder(x)

    def initial_state(self, drive: Float[Array, "..."]) -> State:
        """Returns zeros, after checking the output of the cell against them."""
        cell = self.cell
        start = (
            cell.initial_state(drive) if isinstance(cell, AbstractCell) else jnp.zeros_like(drive)
        )
        output = eqx.filter_eval_shape(cell, start, drive)
        if _described(output) != _described(start):
            raise ValueError(
                f"The cell makes {_described(output)} from a state of {_described(start)}, but a "
                "state at rest equals the output of its cell: give a cell that keeps the "
                "structure, shapes and dtypes of its state."
            )
        return start

    def feedback_parameters(self) -> PyTree[bool]:
        """Returns true for all matrices."""
        return all_matrices(self)

    @property
    def rectified(self) -> bool:
        """Whether the cell has rectified units that it tells of."""
        return isinstance(self.cell, AbstractRectifiedCell) and self.cell.rectified

    def field_through(self, state: State, drive: Float[Array, "..."], rectify: Rectifier) -> State:
        """Computes c(φ, E(x)) − φ with `rectify` in the place of relu in the cell."""
        assert isinstance(self.cell, AbstractRectifiedCell)
        return jax.tree.map(jnp.subtract, self.cell.through(state, drive, rectify), state)

    def readout_through(self, state: State, rectify: Rectifier) -> Float[Array, " outputs"]:
        """Computes R(φ), whose units are not known."""
        del rectify
        return self.readout(state)

    def vector_field(self, state: State, drive: Float[Array, "..."]) -> State:
        """Computes c(φ, E(x)) − φ."""
        return jax.tree.map(jnp.subtract, self.cell(state, drive), state)

    def readout(self, state: State) -> Float[Array, " outputs"]:
        """Computes R(φ)."""
        return self.decoder(_last(state))

    def with_batch_statistics(self, inputs: Float[Array, "batch ..."]) -> "DeepEquilibrium":
        """Sets the encoder's batch statistics to those of a batch, if it has any."""
        if not isinstance(self.encoder, ConvolutionalEncoder):
            return self
        maps = jax.vmap(self.encoder.convolution)(inputs)
        norm = self.encoder.norm.with_statistics(maps)
        return eqx.tree_at(lambda model: model.encoder.norm, self, norm)  # pyright: ignore

    def calibrated(self, states: PyTree[Float[Array, "batch ..."]]) -> "DeepEquilibrium":
        """Sets the decoder's batch statistics to those of rest points, if it has any."""
        if not isinstance(self.decoder, PoolingDecoder):
            return self
        norm = self.decoder.norm.with_statistics(_last(states))
        return eqx.tree_at(lambda model: model.decoder.norm, self, norm)  # pyright: ignore


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
    """Makes the deep equilibrium model of the least-control paper (arXiv 2207.01332, section S4).

    It has a 3 × 3 convolution with batch norm, the block of equation 152, batch norm, an average
    pool and an affine readout.

    **Arguments:**

    * `shape`: of an image, (channels, height, width).
    * `outputs`: size of y, in neurons.
    * `channels`, `inner`, `groups`: of the `ResidualCell`.
    * `pool`: size of the average pool's windows, in pixels of the state's maps; must divide their
      height and width.
    * `stride`: of the encoder's convolution, in pixels; 1 in the paper. It divides the height and
      width of the state's maps, so a solver step costs less by its square.
    * `make_cell`: makes the cell from the block: `Swapped` or `WithNodes`; `None` for the block.
    * `initialisation`: of encoder and decoder.
    * `key`: for all weights.

    **Raises:** `ValueError` for a size below one, groups that do not divide the channels, or a pool
    that does not divide the maps.
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
