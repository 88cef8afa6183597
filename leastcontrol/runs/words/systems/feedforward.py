"""The word `feedforward`."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import option
from ._system import LAYER, AbstractActivated, check_layers

if TYPE_CHECKING:
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Feedforward(AbstractActivated):
    """A network of dense layers."""

    word: ClassVar[str] = "feedforward"

    hidden: tuple[int, ...] = option((256, 256), "Sizes of the hidden layers", range=LAYER)

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the network."""
        from ....systems import Feedforward

        return Feedforward(
            math.prod(shape),
            self.hidden,
            outputs,
            activation=self.function(),
            initialisation=self.initialiser(),
            key=key,
        )

    def check(self, config: Any) -> None:
        """Checks the number of layers."""
        check_layers(self.hidden)
