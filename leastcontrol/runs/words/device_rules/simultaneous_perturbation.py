"""The word `simultaneous-perturbation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import POSITIVE, option
from ._rule import AbstractDeviceRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class SimultaneousPerturbation(AbstractDeviceRuleWord):
    """All weights are perturbed up and down (SPSA); the batch tells which was better."""

    word: ClassVar[str] = "simultaneous-perturbation"

    perturbation: float = option(0.01, "Perturbation of every weight", range=POSITIVE)

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule."""
        from ....devices import SimultaneousPerturbationRule

        return SimultaneousPerturbationRule(self.perturbation)
