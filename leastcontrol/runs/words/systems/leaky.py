"""The word `leaky`."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import POSITIVE, ConfigError, option
from ._system import LAYER, AbstractActivated, check_one_width

if TYPE_CHECKING:
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Leaky(AbstractActivated):
    """A recurrent network whose neurons have time constants of their own."""

    word: ClassVar[str] = "leaky"
    recurrent: ClassVar[bool] = True

    hidden: tuple[int, ...] = option((256,), "Number of recurrent neurons", range=LAYER)
    slowest: float = option(0.5, "Rate of the slowest neuron, per unit of time", range=POSITIVE)
    fastest: float = option(1.0, "Rate of the fastest neuron, per unit of time", range=POSITIVE)

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the network."""
        from ....systems import EquilibriumRNN, LeakyRNN

        rnn = EquilibriumRNN(
            math.prod(shape),
            self.hidden[0],
            outputs,
            activation=self.function(),
            initialisation=self.initialiser(),
            key=key,
        )
        return LeakyRNN(rnn, self.slowest, self.fastest)

    def check(self, config: Any) -> None:
        """Checks that there is one size, and the order of the rates."""
        check_one_width(self.word, self.hidden)
        if self.slowest > self.fastest:
            raise ConfigError(
                f"--slowest is {self.slowest} and --fastest {self.fastest}, but the slowest rate "
                "is not above the fastest: write --slowest 0.5 --fastest 1."
            )
