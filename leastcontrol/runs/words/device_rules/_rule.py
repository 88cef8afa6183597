"""What the words of a device's `--rule` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

from ...configuration import AbstractWord
from ...options import POSITIVE, choice, option
from ..device_feedback import DEVICE_FEEDBACK, AbstractDeviceFeedbackWord
from ..device_feedback.learned import Learned
from ..output_drives import OUTPUT_DRIVES, AbstractOutputDriveWord
from ..output_drives.proportional import Proportional

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractDeviceRule


@dataclasses.dataclass(frozen=True)
class AbstractDeviceRuleWord(AbstractWord):
    """How a device is found to learn."""

    @abc.abstractmethod
    def build(self, config: Any, device: "AbstractDevice", seed: int) -> "AbstractDeviceRule":
        """Makes the rule for a device of the configuration."""


@dataclasses.dataclass(frozen=True)
class AbstractControlRuleWord(AbstractDeviceRuleWord):
    """A rule whose control reaches the neurons through feedback weights."""

    feedback: AbstractDeviceFeedbackWord = choice(
        DEVICE_FEEDBACK, Learned, "Weights from the output to the control lines"
    )
    output_control: AbstractOutputDriveWord = choice(
        OUTPUT_DRIVES, Proportional, "What drives the measured output"
    )
    perturbation: float = option(
        0.2, "Control that is added to every line, and taken from it", range=POSITIVE
    )
    wandering: float = option(
        1e-4, "Variance that a response gains in a step; larger forgets faster", range=POSITIVE
    )
    first_responses: str = option(
        "unknown",
        "Responses before the first step; twin: of the network that the device describes",
        choices=("unknown", "twin"),
    )

    def parts(self, device: "AbstractDevice", seed: int) -> dict[str, Any]:
        """Makes what a rule of this kind is made of."""
        from ....devices import NetworkTwin

        return {
            "feedback": self.feedback.build(seed),
            "drive": self.output_control.build(),
            "perturbation": self.perturbation,
            "wandering": self.wandering,
            "twin": NetworkTwin(device.describe()) if self.first_responses == "twin" else None,
        }
