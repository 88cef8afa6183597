"""The word `deep-equilibrium`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import option
from ._system import LAYER, AbstractImageSystem, AbstractInitialised, AbstractPenalised

if TYPE_CHECKING:
    from ....rules import AbstractRule
    from ....systems import AbstractSystem


@dataclasses.dataclass(frozen=True)
class DeepEquilibrium(AbstractImageSystem, AbstractPenalised, AbstractInitialised):
    """A deep equilibrium model: one block of convolutions, iterated to rest."""

    word: ClassVar[str] = "deep-equilibrium"

    cell: str = option(
        "residual",
        "Block: residual, swapped (as the paper's code has it), or nodes (a state each)",
        choices={"residual": "Residual", "swapped": "Swapped", "nodes": "WithNodes"},
    )
    channels: int = option(48, "Feature maps of the state", range=LAYER)
    inner: int = option(64, "Feature maps between the two convolutions", range=LAYER)
    groups: int = option(8, "Groups of the norms; divides both numbers of maps", range=LAYER)
    pool: int = option(8, "Size of the last average, in pixels; divides the maps", range=LAYER)
    encoder_stride: int = option(
        1, "Ratio of the images' rows and columns to the maps'", range=LAYER
    )

    def build(self, shape: tuple[int, ...], outputs: int, key: Any) -> "AbstractSystem":
        """Makes the model."""
        from .... import systems
        from ....data import image_shape

        return systems.convolutional_deep_equilibrium(
            image_shape(shape),
            outputs,
            channels=self.channels,
            inner=self.inner,
            groups=self.groups,
            pool=self.pool,
            stride=self.encoder_stride,
            # The residual cell is made of what is given here, and needs no class.
            make_cell=None if self.cell == "residual" else self.stands_for("cell", systems),
            initialisation=self.initialiser(),
            key=key,
        )

    def around(self, rule: "AbstractRule", unit: float) -> "AbstractRule":
        """Returns the rule with the penalty of the Jacobian, and the statistics of batch norms."""
        from ....rules import WithBatchStatistics

        return WithBatchStatistics(self.penalised(rule, unit))
