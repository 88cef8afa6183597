"""The word `least-control`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ....options import NON_NEGATIVE, choice, option
from ..controls import CONTROLS, AbstractControlWord
from ..controls.euler import Euler
from ._rule import AbstractProximalRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractProximalRule):
    """The gradient of the least control."""

    word: ClassVar[str] = "least-control"

    alpha: float = option(0.1, "Leak α of the output control", range=NON_NEGATIVE)
    control: AbstractControlWord = choice(CONTROLS, Euler, "Way to the controlled weights")

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import MetaLeastControl

        return MetaLeastControl(
            self.alpha,
            control=self.control.build(self.inner_steps, self.size(config)),
            adaptation=self.relaxation(config, self.control.steps_momentum()),
        )
