"""MNIST: 60 000 + 10 000 handwritten digits (LeCun, Cortes and Burges)."""

from ._dataset import Standardise
from ._idx_source import IdxFile, IdxSource

MNIST = IdxSource(
    name="mnist",
    classes=10,
    shape=(28, 28),
    source="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    train_images=IdxFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
"""MNIST, 60 000 + 10 000 handwritten digits of 28 × 28 pixels."""

MNIST_STANDARDISATION = Standardise(mean=0.1307, std=0.3081)
"""Mean and standard deviation of the pixels of MNIST's training images, as in the experiments of
deep feedback control and Strong-DFC; those of least control use the pixels as they are."""
