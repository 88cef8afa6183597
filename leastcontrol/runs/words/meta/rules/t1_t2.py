"""The word `t1-t2`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ..controls._control import AbstractMomentum
from ._rule import AbstractProximalRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class T1T2(AbstractProximalRule, AbstractMomentum):
    """The gradient of the outer loss without curvature."""

    word: ClassVar[str] = "t1-t2"

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import T1T2

        return T1T2(self.relaxation(config, self.momentum))
