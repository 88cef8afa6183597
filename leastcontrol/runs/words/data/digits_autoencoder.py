"""The word `digits-autoencoder`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractAutoencoder


@dataclasses.dataclass(frozen=True)
class DigitsAutoencoder(AbstractAutoencoder):
    """The images of digits, to be reproduced."""

    word: ClassVar[str] = "digits-autoencoder"
    source: ClassVar[str] = "digits"
