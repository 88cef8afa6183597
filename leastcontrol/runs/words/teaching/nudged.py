"""The word `nudged`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...options import POSITIVE, option
from ._teaching import AbstractTeachingWord

if TYPE_CHECKING:
    from ....controllers import AbstractTeaching


@dataclasses.dataclass(frozen=True)
class Nudged(AbstractTeachingWord):
    """An output one step down the loss."""

    word: ClassVar[str] = "nudged"
    strong: ClassVar[bool] = False

    nudge: float = option(0.1, "Step λ by which the output is moved", range=POSITIVE)

    def build(self) -> "AbstractTeaching":
        """Makes the teaching."""
        from ....controllers import Nudged

        return Nudged(self.nudge)
