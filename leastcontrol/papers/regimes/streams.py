"""Streams: the images and labels of every step of a training, and the questions along the way.

A protocol draws a stream from the labels of a pool of images by a random generator, without the
images themselves. NumPy is imported where a stream is drawn, so that the list of experiments
appears at once. A stream asks at several steps for the class of images that are not in the pool.
What the right answer is may change along the way, and images of some classes may not be asked for.
"""

import abc
import dataclasses
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

# The steps that one compiled program takes; streams ask at multiples of it.
CHUNK = 16
CLASSES = 10
# The answer for a class that is not asked for.
NOT_ASKED = -1


class Stream(NamedTuple):
    """The batches of a training, and the right answers when it is asked.

    * `images`: the index in the pool of every image of every step.
    * `labels`: the label that is taught with it.
    * `asked`: the numbers of steps after which the network is asked.
    * `answers`: the right answer for an image of each class, each time.
    """

    images: 'Int[np.ndarray, "steps batch"]'
    labels: 'Int[np.ndarray, "steps batch"]'
    asked: tuple[int, ...]
    answers: 'Int[np.ndarray, "times classes"]'


@dataclasses.dataclass(frozen=True)
class AbstractProtocol(abc.ABC):
    """Draws streams.

    **Arguments:**

    * `steps`: the number of steps, a multiple of `CHUNK`.
    * `batch`: the number of images in each.
    """

    steps: int
    batch: int

    def __post_init__(self):
        if self.steps < CHUNK or self.steps % CHUNK:
            raise ValueError(
                f"A stream of {self.steps} steps is asked for, but it has a multiple of {CHUNK}: "
                f"write steps={max(CHUNK, self.steps // CHUNK * CHUNK)}."
            )

    @abc.abstractmethod
    def stream(
        self, labels: 'Int[np.ndarray, " pool"]', generator: "np.random.Generator"
    ) -> Stream:
        """Draws a stream from the labels of a pool of images."""

    @abc.abstractmethod
    def shortened(self, batch: int) -> "AbstractProtocol":
        """Makes a small version, with batches of a given size."""


@dataclasses.dataclass(frozen=True)
class Passes(AbstractProtocol):
    """Goes over the same images again and again, each time in another order.

    **Arguments:**

    * `images`: how many images there are; a last batch that is not full is completed from the next
      pass.
    * `every`: the network is asked after so many steps each; with 0 after the last one alone.
    """

    images: int
    every: int = 0

    def stream(
        self, labels: 'Int[np.ndarray, " pool"]', generator: "np.random.Generator"
    ) -> Stream:
        import numpy as np

        chosen = generator.choice(len(labels), self.images, replace=False)
        needed = self.steps * self.batch
        passes = [generator.permutation(chosen) for _ in range(-(-needed // self.images))]
        images = np.concatenate(passes)[:needed].reshape(self.steps, self.batch)
        asked = tuple(range(self.every, self.steps + 1, self.every)) if self.every else ()
        if self.steps not in asked:
            asked = (*asked, self.steps)
        answers = np.tile(np.arange(CLASSES), (len(asked), 1))
        return Stream(images, labels[images], asked, answers)

    def shortened(self, batch: int) -> "Passes":
        return dataclasses.replace(
            self, steps=4 * CHUNK, batch=batch, images=min(self.images, 600), every=CHUNK
        )


@dataclasses.dataclass(frozen=True)
class Drift(AbstractProtocol):
    """Lets classes exchange their labels after every so many steps; every image is new.

    At each change half of the classes are drawn, and their labels move on by one place in a random
    cycle, so that each of them changes. The network is asked before the next change.

    **Arguments:** `every`, the number of steps between changes.
    """

    every: int

    def stream(
        self, labels: 'Int[np.ndarray, " pool"]', generator: "np.random.Generator"
    ) -> Stream:
        import numpy as np

        images = generator.choice(len(labels), self.steps * self.batch, replace=False)
        images = images.reshape(self.steps, self.batch)
        meaning = np.arange(CLASSES)
        taught, answers, asked = np.empty_like(images), [], []
        for first in range(0, self.steps, self.every):
            if first:
                cycle = generator.permutation(CLASSES)[: CLASSES // 2]
                meaning = meaning.copy()
                meaning[cycle] = meaning[np.roll(cycle, 1)]
            taught[first : first + self.every] = meaning[labels[images[first : first + self.every]]]
            answers.append(meaning)
            asked.append(min(first + self.every, self.steps))
        return Stream(images, taught, tuple(asked), np.array(answers))

    def shortened(self, batch: int) -> "Drift":
        return dataclasses.replace(self, steps=4 * CHUNK, batch=batch, every=2 * CHUNK)


@dataclasses.dataclass(frozen=True)
class Turns(AbstractProtocol):
    """Teaches groups of classes in turn, and asks after each turn.

    **Arguments:**

    * `groups`: the classes of each turn, taken again from the first when there are more turns.
    * `turn`: the number of steps of a turn.
    * `answers`: the answer for each class; it may be the same for classes of several groups.
    """

    groups: tuple[tuple[int, ...], ...]
    turn: int
    answers: tuple[int, ...] = tuple(range(CLASSES))

    def stream(
        self, labels: 'Int[np.ndarray, " pool"]', generator: "np.random.Generator"
    ) -> Stream:
        import numpy as np

        answers, images, asked = np.array(self.answers), [], []
        for number, first in enumerate(range(0, self.steps, self.turn)):
            group = self.groups[number % len(self.groups)]
            members = np.flatnonzero(np.isin(labels, group))
            length = min(self.turn, self.steps - first)
            images.append(generator.choice(members, (length, self.batch)))
            asked.append(first + length)
        drawn = np.concatenate(images)
        seen = [each for group in self.groups for each in group]
        right = np.where(np.isin(np.arange(CLASSES), seen), answers, NOT_ASKED)
        return Stream(drawn, answers[labels[drawn]], tuple(asked), np.tile(right, (len(asked), 1)))

    def shortened(self, batch: int) -> "Turns":
        turn = CHUNK
        steps = turn * len(self.groups)
        return dataclasses.replace(self, steps=steps, batch=batch, turn=turn)
