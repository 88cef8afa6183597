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

from ._characters import Characters as Characters
from ._cifar import CIFAR10 as CIFAR10
from ._cifar import CIFAR10_STANDARDISATION as CIFAR10_STANDARDISATION
from ._cifar import CifarForm as CifarForm
from ._cifar import CifarSource as CifarSource
from ._dataset import DataError as DataError
from ._dataset import Dataset as Dataset
from ._dataset import Provenance as Provenance
from ._dataset import Splits as Splits
from ._dataset import Standardise as Standardise
from ._dataset import image_shape as image_shape
from ._dataset import split_indices as split_indices
from ._digits import DIGITS as DIGITS
from ._download import DownloadPolicy as DownloadPolicy
from ._download import downloads_shown as downloads_shown
from ._fashion_mnist import FASHION_MNIST as FASHION_MNIST
from ._glyphs import read_glyphs as read_glyphs
from ._idx import read_idx as read_idx
from ._idx_source import IdxFile as IdxFile
from ._idx_source import IdxSource as IdxSource
from ._mnist import MNIST as MNIST
from ._mnist import MNIST_STANDARDISATION as MNIST_STANDARDISATION
from ._omniglot import OMNIGLOT as OMNIGLOT
from ._omniglot import OmniglotPart as OmniglotPart
from ._omniglot import OmniglotSource as OmniglotSource
from ._pictures import Picture as Picture
from ._pictures import picture_names as picture_names
from ._pictures import read_picture as read_picture
from ._registry import describe as describe
from ._registry import load as load
from ._registry import names as names
from ._regression import Regression as Regression
from ._regression import RegressionSplits as RegressionSplits
from ._regression import Samples as Samples
from ._regression import SampleSplits as SampleSplits
from ._regression import autoencoding as autoencoding
from ._regression import student_teacher as student_teacher
from ._source import AbstractSource as AbstractSource
from ._source import Pool as Pool
from ._tasks import AbstractTasks as AbstractTasks
from ._tasks import ImageTasks as ImageTasks
from ._tasks import SinusoidTasks as SinusoidTasks
from ._tasks import TaskSet as TaskSet
