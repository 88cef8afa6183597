"""The word `residual`."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import Range, option
from ._system import LAYER, MOST_LAYERS, AbstractActivated, check_one_width

if TYPE_CHECKING:
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Residual(AbstractActivated):
    """A network of dense residual blocks of one width."""

    word: ClassVar[str] = "residual"

    hidden: tuple[int, ...] = option((256,), "Width of the blocks", range=LAYER)
    depth: int = option(50, "Number of blocks", range=Range(1, MOST_LAYERS))

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the network."""
        from ....systems import dense_residual_network

        return dense_residual_network(
            math.prod(shape),
            self.hidden[0],
            self.depth,
            outputs,
            activation=self.function(),
            initialisation=self.initialiser(),
            key=key,
        )

    def check(self, config: Any) -> None:
        """Checks that there is one width."""
        check_one_width(self.word, self.hidden)
