"""The word `mnist`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractClassification, AbstractFiles


@dataclasses.dataclass(frozen=True)
class Mnist(AbstractClassification, AbstractFiles):
    """Handwritten digits of 28 × 28 pixels."""

    word: ClassVar[str] = "mnist"
    source: ClassVar[str] = "mnist"
