"""The word `exact`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class Exact(AbstractControllerWord):
    """Newton steps with exact derivatives."""

    word: ClassVar[str] = "exact"
    iterates: ClassVar[bool] = False

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import Exact
        from ....equilibrium import TrustRegion

        newton = TrustRegion() if self.max_steps is None else TrustRegion(self.max_steps)
        return Exact(self.allowance(), newton)
