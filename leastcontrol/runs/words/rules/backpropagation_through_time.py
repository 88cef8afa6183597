"""The word `backpropagation-through-time`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import AUTO, ConfigError
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
        """Checks that the system is recurrent, and that no tolerance is to be chosen."""
        if not config.system.recurrent:
            raise ConfigError(
                f"--rule {self.word} takes the steps of a recurrent system, and --system is "
                f"{config.system.word}: write --rule backpropagation."
            )
        if self.tolerance == AUTO:
            raise ConfigError(
                f"--tolerance is {AUTO}, but --rule {self.word} takes a fixed number of steps and "
                "solves nothing that a tolerance could end: leave it out."
            )
