"""The word `kolen-pollack`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class KolenPollack(AbstractControllerWord):
    """Feedback weights that learn to mirror the forward weights."""

    word: ClassVar[str] = "kolen-pollack"
    learned: ClassVar[bool] = True

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import KolenPollack

        return KolenPollack(self.allowance(), self.fixed_point())
