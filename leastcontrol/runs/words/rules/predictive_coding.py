"""The word `predictive-coding`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ..controllers.energy import Energy
from ..solving import AbstractSolve
from ._rule import AbstractControlledRule

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class PredictiveCoding(AbstractControlledRule, AbstractSolve):
    """Least control by descent of the energy."""

    word: ClassVar[str] = "predictive-coding"

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

    def check(self, config: Any) -> None:
        """Checks the strength."""
        self.check_strength(config)
