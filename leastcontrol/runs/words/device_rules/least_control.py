"""The word `least-control`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractControlRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractControlRuleWord):
    """The control that was applied behind, times the activity before."""

    word: ClassVar[str] = "least-control"

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule."""
        from ....devices import LeastControlRule

        return LeastControlRule(**self.parts(device, seed))
