"""The word `euler`."""

import dataclasses
from typing import Any, ClassVar

from ._control import AbstractControlWord


@dataclasses.dataclass(frozen=True)
class Euler(AbstractControlWord):
    """The paper's joint steps of weights and control."""

    word: ClassVar[str] = "euler"

    def build(self, steps: int, size: float) -> Any:
        """Makes the control."""
        from .....meta import EulerControl

        return EulerControl(steps=steps, step_size=size)
