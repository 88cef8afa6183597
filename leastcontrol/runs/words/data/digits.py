"""The word `digits`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractClassification


@dataclasses.dataclass(frozen=True)
class Digits(AbstractClassification):
    """Handwritten digits of 8 × 8 pixels, which come with scikit-learn."""

    word: ClassVar[str] = "digits"
    source: ClassVar[str] = "digits"
