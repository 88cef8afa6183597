"""Data sets by name: arrays, checksummed, with offline defaults.

The room has three layers. `Dataset`, `Splits` and `Standardise` are what is handed out: arrays of
NumPy with their checks, which know nothing of files. An `AbstractSource` knows how to read one data
set: `IdxSource` reads four IDX files from a folder or fetches them, and the digits come with
scikit-learn. `load` is what joins them: it finds the source by name, reads, splits by seed and
preprocesses.

So MNIST is the value `IdxSource(name="mnist", ...)`, four file names with their checksums and two
mirrors; Fashion-MNIST is another value of the same class; and a data set of your own is either a
third value or a class with one method, `read`, given to `load` in place of a name.
"""

from ._dataset import DataError, Dataset, Provenance, Splits, Standardise, split_indices
from ._digits import DIGITS
from ._download import DownloadPolicy
from ._fashion_mnist import FASHION_MNIST
from ._idx import read_idx
from ._idx_source import IdxFile, IdxSource
from ._mnist import MNIST, MNIST_STANDARDISATION
from ._registry import describe, load, names
from ._source import AbstractSource, Pool

__all__ = [
    "DIGITS",
    "FASHION_MNIST",
    "MNIST",
    "MNIST_STANDARDISATION",
    "AbstractSource",
    "DataError",
    "Dataset",
    "DownloadPolicy",
    "IdxFile",
    "IdxSource",
    "Pool",
    "Provenance",
    "Splits",
    "Standardise",
    "describe",
    "load",
    "names",
    "read_idx",
    "split_indices",
]
