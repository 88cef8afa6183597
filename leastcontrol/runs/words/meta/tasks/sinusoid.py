"""The word `sinusoid`."""

import dataclasses
from typing import Any, ClassVar

from ....options import at_least, option
from ._tasks import AbstractTasksWord, Parts


@dataclasses.dataclass(frozen=True)
class Sinusoid(AbstractTasksWord):
    """Regression of sinusoids of random amplitude and phase."""

    word: ClassVar[str] = "sinusoid"
    regression: ClassVar[bool] = True
    # The losses of sinusoids are steeper than those of images.
    step_size: ClassVar[float] = 0.01

    shots: int = option(10, "Samples to learn from", range=at_least(1))
    queries: int = option(10, "Samples to be judged by", range=at_least(1))
    hidden: tuple[int, ...] = option((40, 40), "Sizes of the learner's layers", range=at_least(1))

    def build(self) -> Parts:
        """Makes the tasks, the same for all three parts."""
        from .....data import SinusoidTasks

        tasks = SinusoidTasks(self.shots, self.queries)
        return tasks, tasks, tasks

    def model(self, tasks: Any, key: Any) -> Any:
        """Makes the dense learner."""
        from .....systems import DenseLearner

        return DenseLearner(1, self.hidden, 1, key=key)
