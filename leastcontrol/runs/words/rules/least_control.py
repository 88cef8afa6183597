"""The word `least-control`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError, choice, option
from ..controllers import CONTROLLERS, AbstractControllerWord
from ..controllers.automatic import Automatic
from ._rule import AbstractControlledRule, check_direct

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractControlledRule):
    """The gradient of the least control."""

    word: ClassVar[str] = "least-control"

    controller: AbstractControllerWord = choice(CONTROLLERS, Automatic, "Source of the control")
    start: str = option(
        "cold",
        "Start of a solve; warm is the sample's rest point an epoch before",
        choices=("cold", "warm"),
    )

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import LeastControl

        return LeastControl(
            self.controller.build(self.leak(config)),
            self.output_controller(config),
            loss=config.data.loss(),
            unsolved=self.policy(),
        )

    def check(self, config: Any) -> None:
        """Checks the strength, and that there are neurons for direct feedback."""
        self.check_strength(config)
        if self.start == "warm" and not self.controller.iterates:
            raise ConfigError(
                f"--start warm is for controllers that iterate, and --controller is "
                f"{self.controller.word}: leave it out, or write --controller automatic."
            )
        if self.strength is not None and self.controller.needs_leak:
            raise ConfigError(
                f"--controller {self.controller.word} learns from simulated noise, whose time "
                f"constants follow α, and --strength is {self.strength}: write --alpha 6.4 in its "
                "place, or --controller automatic."
            )
        if self.controller.direct:
            check_direct("controller", self.controller.word, config)
