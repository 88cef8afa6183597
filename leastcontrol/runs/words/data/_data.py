"""What the words of `--data` have in common."""

import abc
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...configuration import AbstractWord
from ...options import PART, SHARE, Range, option

if TYPE_CHECKING:
    from ....data import SampleSplits, Standardise
    from ....losses import AbstractLoss

# JAX takes larger seeds modulo this number, so that different ones would be the same.
SEED = Range(0, 2**32, below=True)


@dataclasses.dataclass(frozen=True)
class AbstractData(AbstractWord):
    """A data set.

    * `regression`: whether the targets are vectors, and the loss the squared error.
    * `pixels`: whether inputs are pixels in [0, 1] before preprocessing.
    """

    regression: ClassVar[bool]
    pixels: ClassVar[bool] = True

    @abc.abstractmethod
    def load(self) -> "SampleSplits":
        """Loads the training, validation and test samples.

        **Raises:** `data.DataError`.
        """

    @abc.abstractmethod
    def loss(self) -> "AbstractLoss":
        """Makes the loss for these targets."""

    def standardisation(self) -> "Standardise | None":
        """Returns what is done to inputs after they are scaled to [0, 1]."""
        return None


@dataclasses.dataclass(frozen=True)
class AbstractImages(AbstractData):
    """Images that are split by a seed.

    * `source`: name that `data.load` knows.
    * `scale`: name of the standardisation in `data`.
    """

    source: ClassVar[str]
    scale: ClassVar[str] = "MNIST_STANDARDISATION"

    preprocessing: str = option(
        "none",
        "Preprocessing of pixels; standardise brings those in [0, 1] to mean 0, deviation 1",
        choices=("none", "standardise"),
    )
    validation_fraction: float = option(
        1 / 12, "Share kept for validation; of the samples that are not for the test", range=SHARE
    )
    split_seed: int = option(
        0, "Seed of the split; into training and validation samples", range=SEED
    )

    def standardisation(self) -> "Standardise | None":
        """Returns the standardisation, or `None` if there is none."""
        from .... import data

        return None if self.preprocessing == "none" else getattr(data, self.scale)

    def splits(self) -> Any:
        """Loads the images with their labels."""
        from .... import data

        return data.load(
            self.source,
            data_dir=self.flat().get("data_dir"),
            validation_fraction=self.validation_fraction,
            split_seed=self.split_seed,
            preprocessing=self.standardisation(),
        )


@dataclasses.dataclass(frozen=True)
class AbstractFiles(AbstractWord):
    """A data set that is read from files."""

    data_dir: Path | None = option(
        None, "Folder with the data set's files; else LEASTCONTROL_DATA, the cache, or a download"
    )


@dataclasses.dataclass(frozen=True)
class AbstractClassification(AbstractImages):
    """Images with labels, and the cross-entropy."""

    regression: ClassVar[bool] = False

    label_smoothing: float = option(
        0.0,
        "Probability taken from the class; it makes targets soft, as --alpha 0 needs",
        range=PART,
    )

    def load(self) -> "SampleSplits":
        """Loads the images with their labels."""
        return self.splits()

    def loss(self) -> "AbstractLoss":
        """Makes the cross-entropy."""
        from ....losses import CrossEntropy

        return CrossEntropy(softness=self.label_smoothing)


@dataclasses.dataclass(frozen=True)
class AbstractAutoencoder(AbstractImages):
    """Images that are their own targets, and the squared error."""

    regression: ClassVar[bool] = True

    def load(self) -> "SampleSplits":
        """Loads the images as inputs and targets."""
        from .... import data

        return data.autoencoding(self.splits())

    def loss(self) -> "AbstractLoss":
        """Makes the squared error."""
        from ....losses import SquaredError

        return SquaredError()
