"""The word `mnist-autoencoder`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractAutoencoder, AbstractFiles


@dataclasses.dataclass(frozen=True)
class MnistAutoencoder(AbstractAutoencoder, AbstractFiles):
    """The images of mnist, to be reproduced."""

    word: ClassVar[str] = "mnist-autoencoder"
    source: ClassVar[str] = "mnist"
