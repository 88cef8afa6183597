"""The word `rnn`."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import option
from ._system import LAYER, AbstractActivated, AbstractPenalised, check_one_width

if TYPE_CHECKING:
    from ....rules import AbstractRule
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class RecurrentNetwork(AbstractPenalised, AbstractActivated):
    """A recurrent network that settles on a constant input."""

    word: ClassVar[str] = "rnn"

    hidden: tuple[int, ...] = option((256,), "Number of recurrent neurons", range=LAYER)

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the network."""
        from ....systems import EquilibriumRNN

        return EquilibriumRNN(
            math.prod(shape),
            self.hidden[0],
            outputs,
            activation=self.function(),
            initialisation=self.initialiser(),
            key=key,
        )

    def around(self, rule: "AbstractRule", unit: float) -> "AbstractRule":
        """Returns the rule with the penalty of the Jacobian."""
        return self.penalised(rule, unit)

    def check(self, config: Any) -> None:
        """Checks that there is one size."""
        check_one_width(self.word, self.hidden)
