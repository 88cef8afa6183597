"""The word `backpropagation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError
from ._rule import AbstractRuleWord

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class Backpropagation(AbstractRuleWord):
    """Backpropagation of the loss through a feedforward system."""

    word: ClassVar[str] = "backpropagation"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import Backpropagation

        return Backpropagation(loss=config.data.loss())

    def check(self, config: Any) -> None:
        """Checks that the system has an order of layers."""
        if config.system.recurrent:
            raise ConfigError(
                f"--rule backpropagation goes through a feedforward system, and --system is "
                f"{config.system.word}: write --rule recurrent-backpropagation."
            )
