"""What the words of `--rule` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...configuration import AbstractWord
from ...options import ConfigError
from ..solving import AbstractPolicy, AbstractSolveWithPolicy
from ..strength import AbstractOutputControlled

if TYPE_CHECKING:
    from ....equilibrium import FixedPoint
    from ....rules import AbstractRule
    from ....training import AbstractCourse


@dataclasses.dataclass(frozen=True)
class AbstractRuleWord(AbstractWord):
    """What changes the weights.

    * `strong`: whether it has a strength of control, or of a nudge, that can be set.
    """

    strong: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule of a training's configuration.

        **Raises:** `ValueError` for constants that do not fit each other.
        """

    def penalty_unit(self, config: Any) -> float:
        """Returns the unit in which the rule's objective has the loss."""
        return 1.0

    def course(self) -> "AbstractCourse | None":
        """Makes the course of the share of the loss that control is to remove, if one is asked."""
        return None


@dataclasses.dataclass(frozen=True)
class AbstractFreeRule(AbstractRuleWord, AbstractSolveWithPolicy):
    """A rule that solves for the free equilibrium, and perhaps for an adjoint."""

    def solver(self) -> "FixedPoint":
        """Makes the iteration to the free equilibrium."""
        from ....equilibrium import FixedPoint

        budget = {} if self.max_steps is None else {"max_steps": self.max_steps}
        return FixedPoint.mixed_later(**budget)


@dataclasses.dataclass(frozen=True)
class AbstractControlledRule(AbstractRuleWord, AbstractOutputControlled, AbstractPolicy):
    """A rule whose objective is that of least control."""

    strong: ClassVar[bool] = True

    def penalty_unit(self, config: Any) -> float:
        """Returns the leak: the objective has the loss as L/α, and without a leak not at all.

        A share of the loss is asked for in units of the loss.
        """
        return 1.0 if self.strength is not None else self.leak(config) or 1.0

    def course(self) -> "AbstractCourse | None":
        """Makes the course of the share."""
        return self.course_of_strength()


def check_direct(name: str, word: str, config: Any) -> None:
    """Checks that a system has neurons that direct feedback can go to.

    **Raises:** `ConfigError`.
    """
    if config.system.word not in ("feedforward", "rnn"):
        raise ConfigError(
            f"--{name} is {word}, whose feedback goes straight to the neurons of a feedforward or "
            f"rnn system, and --system is {config.system.word}: choose another {name}."
        )
