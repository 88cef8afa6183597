"""The word `centred-equilibrium-propagation`."""

import dataclasses
from typing import ClassVar

from ._nudging import AbstractNudging


@dataclasses.dataclass(frozen=True)
class CentredEquilibriumPropagation(AbstractNudging):
    """Difference between two rest points of opposite nudging."""

    word: ClassVar[str] = "centred-equilibrium-propagation"
    centred: ClassVar[bool] = True
