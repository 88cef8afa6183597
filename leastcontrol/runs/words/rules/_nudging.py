"""What the two words of equilibrium propagation have in common."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError, choice
from ..controllers import WITHOUT_LEARNING, AbstractControllerWord
from ..controllers.automatic import Automatic
from ..solving import AbstractPolicy
from ..strength import AbstractStrength
from ._rule import AbstractRuleWord

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class AbstractNudging(AbstractRuleWord, AbstractStrength, AbstractPolicy):
    """A rule that compares rest points of different nudging.

    * `centred`: whether it compares two opposite nudges, and not one with none.
    """

    strong: ClassVar[bool] = True
    centred: ClassVar[bool]

    controller: AbstractControllerWord = choice(
        WITHOUT_LEARNING, Automatic, "Way to the nudged rest point"
    )

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import EquilibriumPropagation

        leak = self.leak(config)
        return EquilibriumPropagation(
            self.controller.build(leak),
            1 / leak,
            centred=self.centred,
            loss=config.data.loss(),
            unsolved=self.policy(),
        )

    def check(self, config: Any) -> None:
        """Checks that the nudge is finite."""
        if self.alpha == 0:
            raise ConfigError(
                f"--alpha is 0, but the nudge of --rule {self.word} has the strength 1/α: write "
                "--alpha 6.4."
            )
