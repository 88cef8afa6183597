"""The configuration of one meta-training run."""

import dataclasses
from typing import Any, ClassVar

from .config import AbstractSeededConfig, Seeds
from .configuration import AbstractPart
from .options import POSITIVE, at_least, choice, group, option, refuse
from .words.meta.rules import META_RULES, AbstractMetaRuleWord
from .words.meta.rules.least_control import LeastControl
from .words.meta.tasks import TASKS, AbstractTasksWord
from .words.meta.tasks.sinusoid import Sinusoid


@dataclasses.dataclass(frozen=True)
class MetaOptimiser(AbstractPart):
    """How slow weights are changed by their gradients."""

    total_tasks: int = option(100_000, "Number of tasks to train on")
    task_batch: int = option(16, "Number of tasks in a step", range=at_least(1))
    learning_rate: float = option(1e-3, "Adam's learning rate", range=POSITIVE)

    def check(self, config: Any) -> None:
        """Checks that there is a step."""
        if self.total_tasks < self.task_batch:
            refuse("total_tasks", self.total_tasks, f"at least {self.task_batch}", "100000")


@dataclasses.dataclass(frozen=True)
class MetaRun(Seeds):
    """What is repeated and looked at."""

    evaluation_steps: int | None = option(
        None, "Steps in which a validation or test task is learned", range=at_least(1)
    )
    evaluation_step_size: float | None = option(
        None, "Size of these steps; both as in training by default", range=POSITIVE
    )
    validation_tasks: int = option(200, "Validation tasks of a look", range=at_least(2))
    evaluation_tasks: int = option(600, "Test tasks of the final evaluation", range=at_least(2))
    reports: int = option(20, "Number of looks at training", range=at_least(1))


@dataclasses.dataclass(frozen=True)
class MetaConfig(AbstractSeededConfig):
    """One meta-training run: what is learned fast, what changes the slow weights, and how."""

    verb: ClassVar[str] = "meta"
    what: ClassVar[str] = "a meta-training"

    tasks: AbstractTasksWord = choice(TASKS, Sinusoid, "What is to be learned fast")
    rule: AbstractMetaRuleWord = choice(META_RULES, LeastControl, "What changes the slow weights")
    optimiser: MetaOptimiser = group(MetaOptimiser)
    run: MetaRun = group(MetaRun)

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds that are trained."""
        return self.run.all()

    def steps(self) -> int:
        """Returns the number of steps of the optimiser."""
        return self.optimiser.total_tasks // self.optimiser.task_batch
