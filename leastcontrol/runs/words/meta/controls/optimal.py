"""The word `optimal`."""

import dataclasses
from typing import Any, ClassVar

from ._control import AbstractControlWord, AbstractMomentum


@dataclasses.dataclass(frozen=True)
class Optimal(AbstractControlWord, AbstractMomentum):
    """The rest point of the least effort."""

    word: ClassVar[str] = "optimal"

    def build(self, steps: int, size: float) -> Any:
        """Makes the control."""
        from .....meta import OptimalControl

        return OptimalControl()
