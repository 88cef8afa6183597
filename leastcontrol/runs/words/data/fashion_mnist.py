"""The word `fashion-mnist`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractClassification, AbstractFiles


@dataclasses.dataclass(frozen=True)
class FashionMnist(AbstractClassification, AbstractFiles):
    """Clothes in 28 × 28 pixels."""

    word: ClassVar[str] = "fashion-mnist"
    source: ClassVar[str] = "fashion-mnist"
