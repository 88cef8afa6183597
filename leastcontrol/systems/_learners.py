"""Networks for few-shot tasks, called with a whole support or query set at once.

A learner takes the inputs of a set, because its batch normalisation computes the statistics from
that set and stores none. This is the convention of the meta-learning literature: the query samples
of a task are normalised together.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._initialisation import AbstractInitialisation, FanInUniform
from ._system import Activation, Affine, check_size, relu

# Added to a variance, so that a feature that is constant over a set stays finite.
SMALLEST_VARIANCE = 1e-5


class DenseLearner(eqx.Module):
    """A fully connected network for a set of vectors.

    **Arguments:**

    * `inputs`, `hidden`, `outputs`: sizes.
    * `activation`: of the hidden layers, elementwise.
    * `initialisation`: of weights and biases.
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one.
    """

    layers: tuple[Affine, ...]
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        *,
        activation: Activation = relu,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        initialisation = FanInUniform() if initialisation is None else initialisation
        sizes = (inputs, *hidden, outputs)
        for size in sizes:
            check_size("size", size)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            Affine.initialise(before, after, initialisation, key=layer_key)
            for before, after, layer_key in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.activation = activation

    def __call__(self, inputs: Float[Array, "set ..."]) -> Float[Array, "set outputs"]:
        x = inputs.reshape(inputs.shape[0], -1)
        for layer in self.layers[:-1]:
            x = self.activation(jax.vmap(layer)(x))
        return jax.vmap(self.layers[-1])(x)


class ConvolutionalModule(eqx.Module):
    """A 3×3 convolution, batch normalisation over the set, relu, and 2×2 max-pooling."""

    weight: Float[Array, "channels window"]
    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]

    def __call__(self, images: Float[Array, "set height width inputs"]) -> Array:
        height, width = images.shape[1:3]
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # Tasks have different weights. Mapped over tasks, a matrix product stays a matrix product,
        # but a convolution becomes a grouped convolution, which is slow on every device.
        windows = jnp.concatenate(
            [
                padded[:, row : row + height, column : column + width]
                for row in range(3)
                for column in range(3)
            ],
            axis=-1,
        )
        x = windows @ self.weight.T
        mean = jnp.mean(x, axis=(0, 1, 2), keepdims=True)
        variance = jnp.var(x, axis=(0, 1, 2), keepdims=True)
        normal = (x - mean) * jax.lax.rsqrt(variance + SMALLEST_VARIANCE)
        x = jax.nn.relu(normal * self.scale[None, None, None] + self.shift[None, None, None])
        even = x[:, : height // 2 * 2, : width // 2 * 2]
        pairs = even.reshape(x.shape[0], height // 2, 2, width // 2, 2, x.shape[-1])
        # By pairs: the gradient of a maximum over axes divides by the number of entries that equal
        # it, which is zero where a program computes them twice and rounds them differently.
        rows = jnp.maximum(pairs[:, :, 0], pairs[:, :, 1])
        return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


class ConvolutionalLearner(eqx.Module):
    """Modules of 3×3 convolution, batch normalisation, relu and max-pooling, then a dense layer.

    With four modules of 64 channels and images of 28×28 this is the learner of arXiv 2207.01332,
    section S4.5. The convolutions have no bias, because the normalisation would remove it.

    **Arguments:**

    * `shape`: height and width of an image in pixels; each module halves both, rounding down.
    * `outputs`: number of classes.
    * `channels`, `modules`: number of channels per module, and number of modules.
    * `initialisation`: of weights and biases.
    * `key`: for the initialisation.

    **Raises:** `ValueError` for a size below one, or an image too small for that many modules.
    """

    modules: tuple[ConvolutionalModule, ...]
    decoder: Affine

    def __init__(
        self,
        shape: tuple[int, int],
        outputs: int,
        *,
        channels: int = 64,
        modules: int = 4,
        initialisation: AbstractInitialisation | None = None,
        key: PRNGKeyArray,
    ):
        for name, size in (("outputs", outputs), ("channels", channels), ("modules", modules)):
            check_size(name, size)
        height, width = (side // 2**modules for side in shape)
        if min(height, width) < 1:
            raise ValueError(
                f"The images are {shape[0]}×{shape[1]}, and {modules} modules that halve them "
                f"leave nothing: write modules={max(1, min(shape).bit_length() - 1)}, or give "
                "larger images."
            )
        initialisation = FanInUniform() if initialisation is None else initialisation
        *keys, decoder_key = jax.random.split(key, modules + 1)
        self.modules = tuple(
            ConvolutionalModule(
                initialisation.weight(module_key, channels, 9 * (channels if index else 1)),
                jnp.ones(channels),
                jnp.zeros(channels),
            )
            for index, module_key in enumerate(keys)
        )
        self.decoder = Affine.initialise(
            height * width * channels, outputs, initialisation, key=decoder_key
        )

    def __call__(self, inputs: Float[Array, "set height width"]) -> Float[Array, "set outputs"]:
        x = inputs[..., None]
        for module in self.modules:
            x = module(x)
        return jax.vmap(self.decoder)(x.reshape(x.shape[0], -1))
