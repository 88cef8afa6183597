"""The word `convolutional`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import option
from ._system import LAYER, AbstractActivated, AbstractImageSystem, check_layers

if TYPE_CHECKING:
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class Convolutional(AbstractImageSystem, AbstractActivated):
    """A feedforward network of convolutions and dense layers."""

    word: ClassVar[str] = "convolutional"

    convolutions: str = option(
        "small",
        "Convolutions: small (16 and 32 maps with pools), strided (without), or paper (96 to 256)",
        choices={
            "small": "SMALL_CONVOLUTIONS",
            "strided": "STRIDED_CONVOLUTIONS",
            "paper": "PAPER_CONVOLUTIONS",
        },
    )
    hidden: tuple[int, ...] = option(
        (256, 256), "Sizes of the dense hidden layers behind the convolutions", range=LAYER
    )

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the network."""
        from .... import systems
        from ....data import image_shape

        return systems.ConvolutionalFeedforward(
            image_shape(shape),
            self.stands_for("convolutions", systems),
            self.hidden,
            outputs,
            activation=self.function(),
            initialisation=self.initialiser(),
            key=key,
        )

    def check(self, config: Any) -> None:
        """Checks the number of layers, and that there are images."""
        check_layers(self.hidden)
        super().check(config)
