"""What the words of least control's `--control` have in common."""

import abc
import dataclasses
from typing import Any

from ....configuration import AbstractOptions, AbstractWord
from ....options import PART, option


@dataclasses.dataclass(frozen=True)
class AbstractMomentum(AbstractOptions):
    """Steps with momentum."""

    momentum: float = option(0.0, "Momentum of the steps in which a task is learned", range=PART)


@dataclasses.dataclass(frozen=True)
class AbstractControlWord(AbstractWord):
    """Least control's way to the controlled weights."""

    @abc.abstractmethod
    def build(self, steps: int, size: float) -> Any:
        """Makes the control, of steps of a size."""

    def steps_momentum(self) -> float:
        """Returns the momentum of the steps in which a task is learned."""
        return self.flat().get("momentum", 0.0)
