"""What the words of `--tasks` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ....configuration import AbstractWord
from ....options import Range, at_least, option, refuse
from ...data._data import SEED

if TYPE_CHECKING:
    from .....data import AbstractTasks, Characters

Parts = tuple["AbstractTasks", "AbstractTasks", "AbstractTasks"]


@dataclasses.dataclass(frozen=True)
class AbstractTasksWord(AbstractWord):
    """What is to be learned fast.

    * `regression`: whether the targets are vectors, and the loss the squared error.
    * `step_size`: of an adaptation of many steps, unless it is given.
    """

    regression: ClassVar[bool]
    step_size: ClassVar[float]

    @abc.abstractmethod
    def build(self) -> Parts:
        """Makes the tasks for meta-training, validation and test.

        **Raises:** `data.DataError`.
        """

    @abc.abstractmethod
    def model(self, tasks: "AbstractTasks", key: Any) -> Any:
        """Makes the learner of these tasks with its first weights."""


@dataclasses.dataclass(frozen=True)
class AbstractImageTasks(AbstractTasksWord):
    """Images of a few classes that are to be distinguished."""

    regression: ClassVar[bool] = False
    step_size: ClassVar[float] = 0.03

    ways: int = option(5, "Number of classes of a task", range=at_least(1))
    shots: int = option(1, "Samples of each class to learn from", range=at_least(1))
    queries: int = option(15, "Samples of each class to be judged by", range=at_least(1))
    image_size: int = option(28, "Height and width of images: 28 pixels or a divisor of it")
    split_seed: int = option(0, "Seed of the split of the classes", range=SEED)
    channels: int = option(64, "Channels of the learner", range=at_least(1))
    modules: int = option(4, "Modules of the learner, each halving the images", range=at_least(1))

    @abc.abstractmethod
    def characters(self) -> "Characters":
        """Reads the images by class."""

    def build(self) -> Parts:
        """Makes the tasks from images, split by class."""
        import jax.numpy as jnp

        from .....data import ImageTasks

        first, second, third = (
            ImageTasks(jnp.asarray(part.images), self.ways, self.shots, self.queries)
            for part in self.characters().shrunk(self.image_size).split(self.split_seed)
        )
        return first, second, third

    def model(self, tasks: Any, key: Any) -> Any:
        """Makes the convolutional learner."""
        from .....systems import ConvolutionalLearner

        height, width = tasks.images.shape[2:]
        return ConvolutionalLearner(
            (height, width), self.ways, channels=self.channels, modules=self.modules, key=key
        )

    def check(self, config: Any) -> None:
        """Checks the size of the images."""
        if self.image_size not in Range(1, 28) or 28 % self.image_size:
            refuse("image_size", self.image_size, "a divisor of 28", "14")
        if self.image_size < 2**self.modules:
            refuse(
                "modules",
                self.modules,
                f"few enough to halve images of {self.image_size} pixels so often",
                str(self.image_size.bit_length() - 1),
            )
