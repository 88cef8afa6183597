"""What the words of meta-training's `--rule` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

from ....configuration import AbstractWord
from ....options import POSITIVE, at_least, option
from ..controls._control import AbstractMomentum

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule

# λ of the system's slow weights under a rule that has no proximal term.
PROXIMAL_STRENGTH = 0.001


@dataclasses.dataclass(frozen=True)
class AbstractMetaRuleWord(AbstractWord):
    """What changes the slow weights."""

    @abc.abstractmethod
    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule of a meta-training's configuration."""

    def proximal_term(self) -> tuple[float, str]:
        """Returns the strength λ of the proximal term and how it learns."""
        return PROXIMAL_STRENGTH, "none"


@dataclasses.dataclass(frozen=True)
class AbstractDescentRule(AbstractMetaRuleWord, AbstractMomentum):
    """A rule whose adaptation is a few steps of gradient descent from the slow weights."""

    inner_steps: int = option(5, "Steps in which a task is learned", range=at_least(1))
    step_size: float = option(0.01, "Size of these steps", range=POSITIVE)

    def adaptation(self) -> Any:
        """Makes the adaptation."""
        from .....meta import GradientDescent

        return GradientDescent(self.inner_steps, self.step_size, self.momentum)


@dataclasses.dataclass(frozen=True)
class AbstractProximalRule(AbstractMetaRuleWord):
    """A rule whose adaptation descends to rest beside the slow weights."""

    inner_steps: int = option(100, "Steps in which a task is learned", range=at_least(1))
    step_size: float | None = option(
        None,
        "Size of these steps; 0.03 for images and 0.01 for sinusoids by default",
        range=POSITIVE,
    )
    proximal_strength: float = option(
        PROXIMAL_STRENGTH,
        "First strength λ of the proximal term to the slow weights",
        range=POSITIVE,
    )
    proximal_learning: str = option(
        "none", "Whether that strength learns", choices=("none", "shared", "per-weight")
    )

    def proximal_term(self) -> tuple[float, str]:
        """Returns the strength λ of the proximal term and how it learns."""
        return self.proximal_strength, self.proximal_learning

    def size(self, config: Any) -> float:
        """Returns the size of the steps in which a task is learned."""
        return config.tasks.step_size if self.step_size is None else self.step_size

    def relaxation(self, config: Any, momentum: float) -> Any:
        """Makes the adaptation."""
        from .....meta import Relaxation

        return Relaxation(self.inner_steps, self.size(config), momentum)
