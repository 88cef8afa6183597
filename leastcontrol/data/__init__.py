"""Data sets by name: arrays, checksummed, with offline defaults.

The room has three layers. `Dataset`, `Splits` and `Standardise` are what is handed out: arrays of
NumPy with their checks, which know nothing of files. An `AbstractSource` knows how to read one data
set: `IdxSource` reads four IDX files from a folder or fetches them, and the digits come with
scikit-learn. `load` is what joins them: it finds the source by name, reads, splits by seed and
preprocesses.

So MNIST is the value `IdxSource(name="mnist", ...)`, four file names with their checksums and two
mirrors; Fashion-MNIST is another value of the same class; and a data set of your own is either a
third value or a class with one method, `read`, given to `load` in place of a name. CIFAR-10 is a
`CifarSource`: either of its authors' archives, the pickled one read without unpickling.

Pictures for implicit representations are no classification data: `read_picture` returns one square
image, whose pixels are the samples.

Where the target is a vector and no label, samples are a `Regression`: `student_teacher` makes one
from a random teacher, `autoencoding` from any data set. What takes either takes `Samples`.

Meta-learning draws its samples differently: from `AbstractTasks`, one task for each key.
`Characters` are images of many classes, split by class, for `ImageTasks`: the letters that
`read_glyphs` draws from fonts, or the handwritten ones of `OMNIGLOT`.
"""

from ._characters import Characters
from ._cifar import CIFAR10, CIFAR10_STANDARDISATION, CifarForm, CifarSource
from ._dataset import (
    DataError,
    Dataset,
    Provenance,
    Splits,
    Standardise,
    image_shape,
    split_indices,
)
from ._digits import DIGITS
from ._download import DownloadPolicy
from ._fashion_mnist import FASHION_MNIST
from ._glyphs import read_glyphs
from ._idx import read_idx
from ._idx_source import IdxFile, IdxSource
from ._mnist import MNIST, MNIST_STANDARDISATION
from ._omniglot import OMNIGLOT, OmniglotArchive, OmniglotSource
from ._pictures import Picture, picture_names, read_picture
from ._registry import describe, load, names
from ._regression import (
    Regression,
    RegressionSplits,
    Samples,
    SampleSplits,
    autoencoding,
    student_teacher,
)
from ._source import AbstractSource, Pool
from ._tasks import AbstractTasks, ImageTasks, SinusoidTasks, TaskSet

__all__ = [
    "CIFAR10",
    "CIFAR10_STANDARDISATION",
    "DIGITS",
    "FASHION_MNIST",
    "MNIST",
    "MNIST_STANDARDISATION",
    "OMNIGLOT",
    "AbstractSource",
    "AbstractTasks",
    "Characters",
    "CifarForm",
    "CifarSource",
    "DataError",
    "Dataset",
    "DownloadPolicy",
    "IdxFile",
    "IdxSource",
    "ImageTasks",
    "OmniglotArchive",
    "OmniglotSource",
    "Picture",
    "Pool",
    "Provenance",
    "Regression",
    "RegressionSplits",
    "SampleSplits",
    "Samples",
    "SinusoidTasks",
    "Splits",
    "Standardise",
    "TaskSet",
    "autoencoding",
    "describe",
    "image_shape",
    "load",
    "names",
    "picture_names",
    "read_glyphs",
    "read_idx",
    "read_picture",
    "split_indices",
    "student_teacher",
]
