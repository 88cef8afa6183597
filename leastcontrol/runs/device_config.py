"""The configuration of the training of one device."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from .config import AbstractSeededConfig, Seeds
from .configuration import AbstractPart
from .options import POSITIVE, at_least, choice, group, option
from .words.data import DATA
from .words.data._data import AbstractClassification, AbstractData
from .words.data.digits import Digits
from .words.device_rules import DEVICE_RULES, AbstractDeviceRuleWord
from .words.device_rules.least_control import LeastControl
from .words.devices import DEVICES, AbstractDeviceWord
from .words.devices.simulated import Simulated

if TYPE_CHECKING:
    from ..devices import DeviceTraining

# A device learns classes.
CLASSES: tuple[type[AbstractData], ...] = tuple(
    word for word in DATA if issubclass(word, AbstractClassification)
)


@dataclasses.dataclass(frozen=True)
class DeviceOptimiser(AbstractPart):
    """How weights are changed by what is measured."""

    epochs: int = option(30, "Passes over the training set", range=at_least(1))
    batch_size: int = option(64, "Samples that settle in a step", range=at_least(1))
    learning_rate: float = option(
        3e-3, "Adam's learning rate at the first step; in units of a weight", range=POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class DeviceConfig(AbstractSeededConfig):
    """The training of one device: what it is, and how it learns."""

    verb: ClassVar[str] = "device"
    what: ClassVar[str] = "the training of a device"

    data: AbstractData = choice(CLASSES, Digits, "Data set")
    device: AbstractDeviceWord = choice(DEVICES, Simulated, "What is trained")
    rule: AbstractDeviceRuleWord = choice(
        DEVICE_RULES, LeastControl, "How it is found out in which direction weights change"
    )
    optimiser: DeviceOptimiser = group(DeviceOptimiser)
    run: Seeds = group(Seeds)

    def all_seeds(self) -> tuple[int, ...]:
        """Returns the seeds, each of a device of its own."""
        return self.run.all()

    def build_training(self) -> "DeviceTraining":
        """Makes what the learner is given."""
        from ..devices import DeviceTraining

        optimiser: Any = self.optimiser
        return DeviceTraining(
            epochs=optimiser.epochs,
            batch_size=optimiser.batch_size,
            learning_rate=optimiser.learning_rate,
            softness=self.data.flat()["label_smoothing"],
        )
