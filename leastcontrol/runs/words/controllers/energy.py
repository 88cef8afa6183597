"""The word `energy`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class Energy(AbstractControllerWord):
    """Descent of the energy, in which the control is eliminated."""

    word: ClassVar[str] = "energy"

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import Energy

        solver = self.fixed_point()
        return Energy(self.allowance(), *([] if solver is None else [solver]))
