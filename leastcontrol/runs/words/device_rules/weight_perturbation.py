"""The word `weight-perturbation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import POSITIVE, option
from ._rule import AbstractDeviceRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class WeightPerturbation(AbstractDeviceRuleWord):
    """All weights are perturbed by noise; the batch tells whether its loss falls."""

    word: ClassVar[str] = "weight-perturbation"

    perturbation: float = option(
        0.01, "Deviation of the perturbation of every weight", range=POSITIVE
    )

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule."""
        from ....devices import WeightPerturbationRule

        return WeightPerturbationRule(self.perturbation)
