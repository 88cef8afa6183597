"""scikit-learn's 1797 handwritten digits of 8 x 8 pixels, which need no download."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ._dataset import DataError, Dataset, Provenance
from ._source import AbstractSource, Folder, Pool

# Of the arrays as unsigned bytes, in C order.
_CHECKSUMS = {
    "data": "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
    "target": "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
}


@dataclass(frozen=True)
class Digits(AbstractSource):
    """The digits of `sklearn.datasets.load_digits`: pixels up to 16, no official test set."""

    name: str = "digits"

    def read(self, data_dir: Folder | None, cache_dir: Folder | None) -> Pool:
        if data_dir is not None:
            raise DataError(
                f"data_dir={data_dir}: the data set {self.name} comes with scikit-learn and not "
                "from a folder; leave it out."
            )
        try:
            # Imported here because it takes a second, and is needed for this data set only.
            import sklearn
            from sklearn.datasets import load_digits
        except ModuleNotFoundError as error:
            raise DataError(
                f"the data set {self.name} needs scikit-learn ({error}): write pip install "
                "scikit-learn, or choose another data set."
            ) from error
        pixels, targets = load_digits(return_X_y=True)
        origin = f"scikit-learn {sklearn.__version__}"
        for key, array in (("data", pixels), ("target", targets)):
            found = hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()
            if found != _CHECKSUMS[key]:
                raise DataError(
                    f"{self.name}: the SHA-256 of {key} in {origin} is {found}; expected "
                    f"{_CHECKSUMS[key]}: install a release of scikit-learn with the published "
                    "digits."
                )
        return Pool(
            learning=Dataset(
                name=self.name,
                inputs=np.divide(pixels, 16).astype(np.float32),
                targets=targets.astype(np.int32),
                classes=10,
                shape=(8, 8),
                provenance=Provenance(
                    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
                    licence="CC BY 4.0 (E. Alpaydin and C. Kaynak)",
                    origin=origin,
                    checksums=_CHECKSUMS,
                ),
            ),
            test=None,
        )


DIGITS = Digits()
"""The 1 797 handwritten digits that come with scikit-learn, of 8 × 8 pixels."""
