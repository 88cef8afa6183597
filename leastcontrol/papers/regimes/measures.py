"""Measures: what is read from a training, for every seed."""

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


class Figure(NamedTuple):
    """A figure that is compared between arms.

    * `name`, `unit`: for display.
    * `scale`: the factor from a stored value to the displayed unit.
    * `digits`: after the decimal point.
    * `sign`: 1 where more is better, −1 where less is.
    * `matters`: the smallest difference that matters, in the displayed unit.
    """

    name: str
    unit: str
    scale: float
    digits: int
    sign: int
    matters: float


class Asked(NamedTuple):
    """What the networks of all seeds answered along their trainings.

    * `steps`: the numbers of steps after which they were asked.
    * `accuracy`, `loss`: over the images that were asked for.
    * `passes`: how often a step went through the network, on average over the training.
    """

    steps: tuple[int, ...]
    accuracy: 'Float[np.ndarray, "times seeds"]'
    loss: 'Float[np.ndarray, "times seeds"]'
    passes: 'Float[np.ndarray, " seeds"]'


@dataclasses.dataclass(frozen=True)
class AbstractMeasure(abc.ABC):
    """Reads figures from what the networks answered; the first figure chooses the learning rate."""

    figures: ClassVar[tuple[Figure, ...]]
    on_training_images: ClassVar[bool] = False

    @abc.abstractmethod
    def values(self, asked: Asked) -> 'list[Float[np.ndarray, " seeds"]]':
        """Computes the value of each figure for each seed."""


@dataclasses.dataclass(frozen=True)
class LastAccuracy(AbstractMeasure):
    """The accuracy after the last step."""

    figures = (Figure("accuracy", "%", 100.0, 2, 1, 1.0),)

    def values(self, asked: Asked) -> 'list[Float[np.ndarray, " seeds"]]':
        return [asked.accuracy[-1]]


@dataclasses.dataclass(frozen=True)
class MeanAccuracy(AbstractMeasure):
    """The mean of the accuracies along the way."""

    figures = (Figure("mean accuracy", "%", 100.0, 2, 1, 1.0),)

    def values(self, asked: Asked) -> 'list[Float[np.ndarray, " seeds"]]':
        return [asked.accuracy.mean(axis=0)]


@dataclasses.dataclass(frozen=True)
class StepsToLoss(AbstractMeasure):
    """The first number of steps after which the training loss is at most a given one.

    A training that does not reach it counts as if it had at the next question after its last one.

    **Arguments:** `loss`, of a sample, on average.
    """

    loss: float
    figures = (
        Figure("steps", "", 1.0, 0, -1, 16.0),
        Figure("products", "", 1.0, 0, -1, 32.0),
    )
    on_training_images = True

    def values(self, asked: Asked) -> 'list[Float[np.ndarray, " seeds"]]':
        import numpy as np

        reached = asked.loss <= self.loss
        steps = np.array([*asked.steps, asked.steps[-1] + asked.steps[0]], float)
        first = np.where(reached.any(axis=0), reached.argmax(axis=0), len(asked.steps))
        return [steps[first], steps[first] * asked.passes]
