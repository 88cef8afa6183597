"""Random changes of images in training, which keep their class.

Each maps one image, given a random key; `augmented` applies several to every image of a batch, with
a separate key for each image.
"""

import abc
import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractAugmentation(abc.ABC):
    """A random map of one image of shape (channels, height, width)."""

    @abc.abstractmethod
    def __call__(
        self, image: Float[Array, "channels height width"], *, key: PRNGKeyArray
    ) -> Float[Array, "channels height width"]:
        """Changes an image and keeps its shape."""


@dataclasses.dataclass(frozen=True)
class RandomCrop(AbstractAugmentation):
    """Moves an image by up to `padding` pixels along each axis, and fills up with zeros.

    **Raises:** `ValueError` for a padding below one.
    """

    padding: int = 4

    def __post_init__(self):
        if self.padding < 1:
            raise ValueError(
                f"`padding` is {self.padding}, but an image is moved by at least 1 pixel: write "
                "padding=4."
            )

    def __call__(
        self, image: Float[Array, "channels height width"], *, key: PRNGKeyArray
    ) -> Float[Array, "channels height width"]:
        n = self.padding
        padded = jnp.pad(image, ((0, 0), (n, n), (n, n)))
        row, column = jax.random.randint(key, (2,), 0, 2 * n + 1)
        return jax.lax.dynamic_slice(padded, (0, row, column), image.shape)


@dataclasses.dataclass(frozen=True)
class RandomFlip(AbstractAugmentation):
    """Mirrors an image, left for right, with probability ½."""

    def __call__(
        self, image: Float[Array, "channels height width"], *, key: PRNGKeyArray
    ) -> Float[Array, "channels height width"]:
        return jnp.where(jax.random.bernoulli(key), image[:, :, ::-1], image)


def augmented(
    augmentations: Sequence[AbstractAugmentation],
    images: Float[Array, "batch channels height width"],
    *,
    key: PRNGKeyArray,
) -> Float[Array, "batch channels height width"]:
    """Changes every image of a batch by every augmentation in turn."""
    for index, augmentation in enumerate(augmentations):
        keys = jax.random.split(jax.random.fold_in(key, index), len(images))
        images = jax.vmap(lambda image, key, change=augmentation: change(image, key=key))(
            images, keys
        )
    return images
