"""Tasks to learn from few samples: a support set to learn from, a query set to be judged by.

`AbstractTasks` draws one task from a key; a batch is many keys. Drawing is compiled with whatever
uses it, and depends on the key alone, so that every method that is given a key sees the same tasks.
`SinusoidTasks` are functions of one number; `ImageTasks` draws classes from images of many classes,
whatever they show (`glyphs` and `Omniglot`).
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ._dataset import DataError


class TaskSet(NamedTuple):
    """The inputs and targets of one of a task's two sets, with an axis for its samples."""

    inputs: Float[Array, "..."]
    targets: Array


class AbstractTasks(eqx.Module):
    """A distribution of tasks."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> tuple[TaskSet, TaskSet]:
        """Returns the support set and the query set of one task."""

    def batch(self, key: PRNGKeyArray, count: int) -> tuple[TaskSet, TaskSet]:
        """Returns the sets of `count` tasks, with a leading axis for the task."""
        return jax.vmap(self.sample)(jax.random.split(key, count))


class SinusoidTasks(AbstractTasks):
    """Regression of y = A sin(x − p), with A in [0.1, 5], p in [0, π] and x in [−5, 5], uniform.

    (Finn et al., arXiv 1703.03400, section 5.1.)

    **Arguments:** `shots` and `queries` ≥ 1, the samples of the two sets.

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
    """Classification among few classes that were never seen before, from few images of each.

    **Arguments:**

    * `images`: from 0 to 255, of shape `(classes, samples, height, width)`.
    * `ways`: classes of a task. `shots`, `queries`: images of each class in the two sets.
    * `rotations`: whether a class turned by 90°, 180° and 270° is three more classes; the images
      are then as wide as high.

    **Raises:** `DataError` for more ways than classes, more shots and queries than images of a
    class, sets without samples, or images that cannot be turned.
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
            own, names = images[:, which], labels[:, which]
            return TaskSet(own.reshape(-1, *own.shape[2:]), names.reshape(-1))

        return part(slice(self.shots)), part(slice(self.shots, None))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise DataError(f"{name}={count}: expected at least 1: write {name}=5.")
