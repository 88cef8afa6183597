"""The 1797 handwritten digits of scikit-learn, of 8 × 8 pixels, which need no download.

The file is read without importing scikit-learn, because that import takes longer than reading all
other data of a training. Checksums identify the file.
"""

import hashlib
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ._dataset import DataError, Dataset, Provenance
from ._source import AbstractSource, Folder, Pool

# SHA-256 of the arrays as unsigned bytes in C order.
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
        package = find_spec("sklearn")
        if package is None or not package.submodule_search_locations:
            raise DataError(
                f"the data set {self.name} needs scikit-learn, which is not installed: write pip "
                "install scikit-learn, or choose another data set."
            )
        path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
        origin = f"scikit-learn {version('scikit-learn')}"
        try:
            table = np.loadtxt(path, delimiter=",")
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DataError(
                f"{self.name}: {path} of {origin} cannot be read ({error}): install scikit-learn "
                "again."
            ) from error
        pixels, targets = table[:, :-1], table[:, -1]
        for key, array in (("data", pixels), ("target", targets)):
            digest = hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()
            if digest != _CHECKSUMS[key]:
                raise DataError(
                    f"{self.name}: the SHA-256 of {key} in {origin} is {digest}; expected "
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
