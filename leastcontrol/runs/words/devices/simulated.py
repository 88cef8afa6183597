"""The word `simulated`."""

import dataclasses
import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import NON_NEGATIVE, POSITIVE, ConfigError, at_least, option
from ..systems._system import LAYER
from ._device import AbstractDeviceWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice, AbstractTwin, Memory


@dataclasses.dataclass(frozen=True)
class Simulated(AbstractDeviceWord):
    """A simulated network with the difficulties of hardware."""

    word: ClassVar[str] = "simulated"
    mismatch_is_known: ClassVar[bool] = True

    hidden: tuple[int, ...] = option((32, 32, 32, 32), "Neurons of each hidden layer", range=LAYER)
    mismatch: float = option(
        0.5, "Relative deviation of weights, slopes, gains and thresholds", range=NON_NEGATIVE
    )
    noise: float = option(0.05, "Deviation of the noise in every voltage", range=NON_NEGATIVE)
    reading_noise: float | None = option(
        None, "The same in every reading; as in voltages by default", range=NON_NEGATIVE
    )
    write_step: float = option(0.0, "Smallest change of a weight; 0 for any", range=NON_NEGATIVE)
    write_asymmetry: float = option(
        0.0, "Deviation between changes upwards and downwards", range=NON_NEGATIVE
    )
    weight_limit: float | None = option(
        None, "Largest absolute weight; none by default", range=POSITIVE
    )
    drift: float = option(
        0.0, "Relative deviation by which weights wander; in a minute", range=NON_NEGATIVE
    )
    dead_units: int = option(0, "Hidden neurons that are always silent", range=at_least(0))
    control_limit: float | None = option(
        None, "Largest absolute control of a line; none by default", range=POSITIVE
    )
    settling_time: float | None = option(
        None, "Time constants until a reading; long enough for rest by default", range=POSITIVE
    )
    delay: float = option(
        0.0, "Time constants by which readings are late; needs --settling-time", range=NON_NEGATIVE
    )

    def check(self, config: Any) -> None:
        """Checks that there is a settling time if readings are late."""
        if self.delay and self.settling_time is None:
            raise ConfigError(
                f"--delay is {self.delay:g}, but at rest nothing is late, and there is no "
                "--settling-time: write --settling-time 20 besides."
            )

    def opened(
        self, inputs: int, outputs: int, seed: int
    ) -> "AbstractContextManager[AbstractDevice]":
        """Makes the device, whose parts are drawn with the seed."""
        from ....devices import Difficulties, SimulatedDevice

        difficulties = Difficulties(
            self.mismatch,
            self.noise,
            self.reading_noise,
            self.write_step,
            self.write_asymmetry,
            math.inf if self.weight_limit is None else self.weight_limit,
            self.drift,
            self.dead_units,
            math.inf if self.control_limit is None else self.control_limit,
            math.inf if self.settling_time is None else self.settling_time,
            self.delay,
        )
        device = SimulatedDevice(inputs, self.hidden, outputs, difficulties, seed=seed)
        return nullcontext(device)

    def twin(self, device: Any, known: float) -> "AbstractTwin":
        """Makes a network that knows a part of the mismatch."""
        return device.twin(known)

    def memory(self, device: Any) -> "Memory":
        """Collects weights, drift, and the place in the noise."""
        return device.memory()

    def remember(self, device: Any, memory: "Memory") -> None:
        """Makes the device go on in the same bits."""
        device.remember(memory)
