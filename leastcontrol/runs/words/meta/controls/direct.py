"""The word `direct`."""

import dataclasses
from typing import Any, ClassVar

from ._control import AbstractControlWord, AbstractMomentum


@dataclasses.dataclass(frozen=True)
class Direct(AbstractControlWord, AbstractMomentum):
    """Newton steps to the same weights as descent."""

    word: ClassVar[str] = "direct"

    def build(self, steps: int, size: float) -> Any:
        """Makes the control."""
        from .....meta import DirectControl

        return DirectControl()
