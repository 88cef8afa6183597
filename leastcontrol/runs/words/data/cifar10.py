"""The word `cifar10`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractClassification, AbstractFiles


@dataclasses.dataclass(frozen=True)
class Cifar10(AbstractClassification, AbstractFiles):
    """Colour images of 32 × 32 pixels."""

    word: ClassVar[str] = "cifar10"
    source: ClassVar[str] = "cifar10"
    scale: ClassVar[str] = "CIFAR10_STANDARDISATION"
