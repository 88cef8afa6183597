"""The word `physics-aware`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError, Range, option
from ._rule import AbstractDeviceRuleWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class PhysicsAware(AbstractDeviceRuleWord):
    """Forwards by the device, backwards by a twin."""

    word: ClassVar[str] = "physics-aware"

    twin_knowledge: float = option(
        0.0, "Part of a simulated device's mismatch that the twin knows", range=Range(0, 1)
    )

    def check(self, config: Any) -> None:
        """Checks that there is a mismatch that can be known."""
        if self.twin_knowledge and not config.device.mismatch_is_known:
            raise ConfigError(
                f"--twin-knowledge is {self.twin_knowledge:g}, but nobody knows the mismatch of "
                f"--device {config.device.word}: leave it out, or write --device simulated."
            )

    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule, with a twin of the device."""
        from ....devices import PhysicsAwareRule

        return PhysicsAwareRule(config.device.twin(device, self.twin_knowledge))
