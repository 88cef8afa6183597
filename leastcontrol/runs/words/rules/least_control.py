"""The word `least-control`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError, choice, option
from ..controllers import CONTROLLERS, AbstractControllerWord
from ..controllers.automatic import Automatic
from ..solving import unsolved_option
from ..strength import AbstractOutputControlled
from ._rule import AbstractRuleWord, check_direct

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractRuleWord, AbstractOutputControlled):
    """The gradient of the least control."""

    word: ClassVar[str] = "least-control"
    strong: ClassVar[bool] = True

    controller: AbstractControllerWord = choice(CONTROLLERS, Automatic, "Source of the control")
    start: str = option(
        "cold",
        "Start of a solve; warm is the sample's rest point an epoch before",
        choices=("cold", "warm"),
    )
    unsolved: str = unsolved_option()

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import LeastControl

        return LeastControl(
            self.controller.build(self.leak(config)),
            self.output_controller(config),
            loss=config.data.loss(),
            unsolved=self.policy(),
        )

    def policy(self) -> Any:
        """Makes what decides on the samples that are not solved."""
        from .... import rules

        return self.stands_for("unsolved", rules)()

    def penalty_unit(self, config: Any) -> float:
        """Returns the leak: the objective has the loss as L/α, and without a leak not at all."""
        return self.leak(config) or 1.0

    def check(self, config: Any) -> None:
        """Checks the strength, and that there are neurons for direct feedback."""
        self.check_strength(config)
        if self.start == "warm" and not self.controller.iterates:
            raise ConfigError(
                f"--start warm is for controllers that iterate, and --controller is "
                f"{self.controller.word}: leave it out, or write --controller automatic."
            )
        if self.controller.direct:
            check_direct("controller", self.controller.word, config)
