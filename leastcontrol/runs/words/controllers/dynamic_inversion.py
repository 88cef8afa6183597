"""The word `dynamic-inversion`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class DynamicInversion(AbstractControllerWord):
    """A control that is carried back by the dynamics of neurons."""

    word: ClassVar[str] = "dynamic-inversion"

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import DynamicInversion

        return DynamicInversion(self.allowance(), self.budget())
