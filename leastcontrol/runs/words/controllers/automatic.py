"""The word `automatic`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class Automatic(AbstractControllerWord):
    """The controller that is fastest for a system, with dynamic inversion as safeguard."""

    word: ClassVar[str] = "automatic"

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import Automatic

        return Automatic(self.allowance(), self.budget())
