"""The word `equilibrium-propagation`."""

import dataclasses
from typing import ClassVar

from ._nudging import AbstractNudging


@dataclasses.dataclass(frozen=True)
class EquilibriumPropagation(AbstractNudging):
    """Difference between a nudged rest point and the free one."""

    word: ClassVar[str] = "equilibrium-propagation"
    centred: ClassVar[bool] = False
