"""The word `ngspice`."""

import dataclasses
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, ClassVar

from ...options import NON_NEGATIVE, Range, at_least, option
from ._device import AbstractPhysicalDeviceWord

if TYPE_CHECKING:
    from ....devices import AbstractDevice


@dataclasses.dataclass(frozen=True)
class Ngspice(AbstractPhysicalDeviceWord):
    """A circuit of resistors and differential pairs, simulated by ngspice."""

    word: ClassVar[str] = "ngspice"

    pairs: int = option(16, "Differential pairs, the hidden neurons", range=at_least(1))
    resistor_mismatch: float = option(
        0.05, "Deviation of the resistors, relative to their values", range=Range(0, 1)
    )
    offset: float = option(
        0.002, "Deviation of the offsets of pairs and outputs, in volts", range=Range(0, 0.1)
    )

    noise: float = option(
        0.0,
        "Deviation of the noise of every node, in its unit; above 0 a transient is averaged",
        range=NON_NEGATIVE,
    )

    def opened(
        self, inputs: int, outputs: int, seed: int
    ) -> "AbstractContextManager[AbstractDevice]":
        """Makes the circuit, whose parts are drawn with the seed, and starts ngspice."""
        from ....devices import SpiceDevice

        return closing(
            SpiceDevice(
                inputs,
                self.pairs,
                outputs,
                resistor_mismatch=self.resistor_mismatch,
                offset=self.offset,
                noise=self.noise,
                seed=seed,
            )
        )
