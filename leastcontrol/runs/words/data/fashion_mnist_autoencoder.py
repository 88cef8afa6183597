"""The word `fashion-mnist-autoencoder`."""

import dataclasses
from typing import ClassVar

from ._data import AbstractAutoencoder, AbstractFiles


@dataclasses.dataclass(frozen=True)
class FashionMnistAutoencoder(AbstractAutoencoder, AbstractFiles):
    """The images of fashion-mnist, to be reproduced."""

    word: ClassVar[str] = "fashion-mnist-autoencoder"
    source: ClassVar[str] = "fashion-mnist"
