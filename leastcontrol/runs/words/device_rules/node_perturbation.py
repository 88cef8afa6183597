"""The word `node-perturbation`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import POSITIVE, option
from ._rule import AbstractDeviceRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class NodePerturbation(AbstractDeviceRuleWord):
    """The control lines are perturbed; each sample tells whether its loss falls."""

    word: ClassVar[str] = "node-perturbation"

    perturbation: float = option(0.2, "Perturbation of every control line", range=POSITIVE)

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule."""
        from ....devices import NodePerturbationRule

        return NodePerturbationRule(self.perturbation)
