"""Data sets by name, as arrays with verified checksums, with offline defaults.

The package has three layers. `Dataset`, `Splits` and `Standardise` are checked NumPy arrays, which
know nothing of files. An `AbstractSource` reads one data set: `IdxSource` reads four IDX files from
a folder or downloads them, and the digits come with scikit-learn. `load` joins the two: it finds
the source by name, reads it, splits it by seed, and preprocesses it.

MNIST is the value `IdxSource(name="mnist", ...)` with four file names, their checksums and two
mirrors, and Fashion-MNIST is another value of the same class. For another data set, define another
value, or a class with a method `read`, and pass it to `load` instead of a name. CIFAR-10 is a
`CifarSource`, which reads either archive of its authors, the pickled one without unpickling.

`read_picture` reads a square image for implicit representations, whose samples are pixels.

A `Regression` has samples with vectors as targets. `student_teacher` makes one from a random
teacher, and `autoencoding` makes one from any data set. `Samples` is either kind.

Meta-learning draws tasks from `AbstractTasks`, one task per key. `Characters` are images of many
classes for `ImageTasks`, split by class: letters that `read_glyphs` draws from fonts, or the
handwritten characters of `OMNIGLOT`.
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
