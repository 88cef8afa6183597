"""The word `two-phases`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractControlRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class TwoPhases(AbstractControlRuleWord):
    """The measured difference of two phases behind, times the activity before."""

    word: ClassVar[str] = "two-phases"

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule."""
        from ....devices import TwoPhaseRule

        return TwoPhaseRule(**self.parts(device, seed))
