"""The word `contrastive`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ....options import POSITIVE, option
from ..controls._control import AbstractMomentum
from ._rule import AbstractProximalRule

if TYPE_CHECKING:
    from .....meta import AbstractMetaRule


@dataclasses.dataclass(frozen=True)
class Contrastive(AbstractProximalRule, AbstractMomentum):
    """Difference between a nudged adaptation and the free one."""

    word: ClassVar[str] = "contrastive"

    strength: float = option(0.1, "Strength β of the second phase", range=POSITIVE)

    def build(self, config: Any) -> "AbstractMetaRule":
        """Makes the rule."""
        from .....meta import ContrastiveMeta

        return ContrastiveMeta(
            self.relaxation(config, self.momentum),
            strength=self.strength,
            steps=self.inner_steps,
            step_size=self.size(config),
            momentum=self.momentum,
        )
