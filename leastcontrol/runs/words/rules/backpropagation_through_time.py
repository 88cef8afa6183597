"""The word `backpropagation-through-time`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError
from ._rule import AbstractFreeRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class BackpropagationThroughTime(AbstractFreeRule):
    """Backpropagation through --max-steps steps of a recurrent system, 30 by default."""

    word: ClassVar[str] = "backpropagation-through-time"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import BackpropagationThroughTime

        steps = {} if self.max_steps is None else {"steps": self.max_steps}
        return BackpropagationThroughTime(
            config.data.loss(), **steps, tolerance=self.allowance(), unsolved=self.policy()
        )

    def check(self, config: Any) -> None:
        """Checks that the system is recurrent."""
        if not config.system.recurrent:
            raise ConfigError(
                f"--rule {self.word} takes the steps of a recurrent system, and --system is "
                f"{config.system.word}: write --rule backpropagation."
            )
