"""The word `predictive-coding`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ..controllers.energy import Energy
from ..solving import AbstractSolveWithPolicy
from ..strength import AbstractOutputControlled
from ._rule import AbstractRuleWord

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class PredictiveCoding(AbstractRuleWord, AbstractOutputControlled, AbstractSolveWithPolicy):
    """Least control by descent of the energy."""

    word: ClassVar[str] = "predictive-coding"
    strong: ClassVar[bool] = True

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import predictive_coding

        return predictive_coding(
            self.output_controller(config),
            controller=Energy(tolerance=self.tolerance, max_steps=self.max_steps).build(
                self.leak(config)
            ),
            loss=config.data.loss(),
            unsolved=self.policy(),
        )

    def penalty_unit(self, config: Any) -> float:
        """Returns the leak: the objective has the loss as L/α, and without a leak not at all."""
        return self.leak(config) or 1.0

    def check(self, config: Any) -> None:
        """Checks the strength."""
        self.check_strength(config)
