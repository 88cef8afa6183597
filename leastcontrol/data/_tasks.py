"""Few-shot tasks, each with a support set for learning and a query set for evaluation.

`AbstractTasks` draws one task from a key, and a batch from many keys. A task depends on the key
alone, so methods with the same key see the same tasks; drawing is compiled with the code that uses
it. `SinusoidTasks` are functions of one number. `ImageTasks` draws a few of many image classes, for
example of glyphs or Omniglot.
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ._dataset import DataError


class TaskSet(NamedTuple):
    """Inputs and targets of the support or query set of a task, with a leading sample axis."""

    inputs: Float[Array, "..."]
    targets: Array


class AbstractTasks(eqx.Module):
    """A distribution of tasks."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> tuple[TaskSet, TaskSet]:
        """Draws the support set and the query set of one task."""

    def batch(self, key: PRNGKeyArray, count: int) -> tuple[TaskSet, TaskSet]:
        """Draws the sets of `count` tasks, with a leading task axis."""
        return jax.vmap(self.sample)(jax.random.split(key, count))


class SinusoidTasks(AbstractTasks):
    """Regression of y = A sin(x − p), with A in [0.1, 5], p in [0, π] and x in [−5, 5], uniform.

    (Finn et al., arXiv 1703.03400, section 5.1.)

    **Arguments:** `shots` and `queries` ≥ 1, numbers of samples in the support and query set.

    **Raises:** `DataError` for a set without samples.
    """

    shots: int = eqx.field(static=True, default=10)
    queries: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        _check_counts(shots=self.shots, queries=self.queries)

    def sample(self, key: PRNGKeyArray) -> tuple[TaskSet, TaskSet]:
        amplitude_key, phase_key, input_key = jax.random.split(key, 3)
        amplitude = jax.random.uniform(amplitude_key, minval=0.1, maxval=5.0)
        phase = jax.random.uniform(phase_key, minval=0.0, maxval=jnp.pi)
        count = self.shots + self.queries
        x = jax.random.uniform(input_key, (count, 1), minval=-5.0, maxval=5.0)
        y = amplitude * jnp.sin(x - phase)
        return TaskSet(x[: self.shots], y[: self.shots]), TaskSet(x[self.shots :], y[self.shots :])


class ImageTasks(AbstractTasks):
    """Classification among a few new classes, from a few images of each.

    **Arguments:**

    * `images`: from 0 to 255, of shape `(classes, samples, height, width)`.
    * `ways`: number of classes in a task.
    * `shots`, `queries`: numbers of images per class in the support and query set.
    * `rotations`: whether rotations of a class by 90°, 180° and 270° count as additional classes,
      which requires square images.

    **Raises:** `DataError` for more ways than classes, more shots and queries than images of a
    class, sets without samples, or rotations of images that are not square.
    """

    images: UInt8[Array, "classes samples height width"]
    ways: int = eqx.field(static=True)
    shots: int = eqx.field(static=True)
    queries: int = eqx.field(static=True)
    rotations: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        _check_counts(ways=self.ways, shots=self.shots, queries=self.queries)
        classes, samples, height, width = self.images.shape
        if self.ways > self.classes:
            raise DataError(
                f"ways={self.ways}: there are {classes} classes"
                f"{f', {self.classes} with their rotations' if self.rotations else ''}; expected "
                f"at most that many: write ways={min(5, self.classes)}."
            )
        if self.shots + self.queries > samples:
            raise DataError(
                f"shots={self.shots} and queries={self.queries}: together they are more than the "
                f"{samples} images of a class; expected at most that many: write shots=1 and "
                f"queries={max(1, samples - 1)}."
            )
        if self.rotations and height != width:
            raise DataError(
                f"rotations=True: the images are {height}×{width}; expected square ones: write "
                "rotations=False."
            )

    @property
    def classes(self) -> int:
        """The number of classes to draw from."""
        return self.images.shape[0] * (4 if self.rotations else 1)

    def sample(self, key: PRNGKeyArray) -> tuple[TaskSet, TaskSet]:
        class_key, image_key = jax.random.split(key)
        chosen = jax.random.choice(class_key, self.classes, (self.ways,), replace=False)
        count = self.shots + self.queries

        def of_class(index: Int[Array, ""], key: PRNGKeyArray) -> Float[Array, "count h w"]:
            turns, kind = index // self.images.shape[0], index % self.images.shape[0]
            picked = jax.random.choice(key, self.images.shape[1], (count,), replace=False)
            images = self.images[kind, picked].astype(jnp.float32) / 255
            if not self.rotations:
                return images
            turned = [jnp.rot90(images, number, axes=(1, 2)) for number in range(4)]
            return jnp.stack(turned)[turns]

        images = jax.vmap(of_class)(chosen, jax.random.split(image_key, self.ways))
        labels = jnp.broadcast_to(jnp.arange(self.ways)[:, None], (self.ways, count))

        def part(which: slice) -> TaskSet:
            chosen_images, chosen_labels = images[:, which], labels[:, which]
            inputs = chosen_images.reshape(-1, *chosen_images.shape[2:])
            return TaskSet(inputs, chosen_labels.reshape(-1))

        return part(slice(self.shots)), part(slice(self.shots, None))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise DataError(f"{name}={count}: expected at least 1: write {name}=5.")
