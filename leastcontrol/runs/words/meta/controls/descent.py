"""The word `descent`."""

import dataclasses
from typing import Any, ClassVar

from ....options import ConfigError
from ._control import AbstractControlWord, AbstractMomentum


@dataclasses.dataclass(frozen=True)
class Descent(AbstractControlWord, AbstractMomentum):
    """Descent to the controlled weights, with the control eliminated."""

    word: ClassVar[str] = "descent"

    def build(self, steps: int, size: float) -> Any:
        """Makes the control."""
        from .....meta import DescentControl

        return DescentControl(steps=steps, step_size=size, momentum=self.momentum)

    def check(self, config: Any) -> None:
        """Checks that there is a leak to divide by."""
        if config.rule.alpha == 0:
            raise ConfigError(
                "--control descent divides by the leak, and --alpha is 0: write --alpha 0.1, or "
                "--control direct."
            )
