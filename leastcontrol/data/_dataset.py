"""What every data set is once it is loaded: `Dataset`, its `Splits`, and the error of this room.

Nothing here knows where arrays come from. The checks sit in `Dataset` itself, so that a set that
someone builds by hand meets the same ones as a file that was read from disk.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64


class DataError(ValueError):
    """Data that cannot be used: what was given, what was expected and what to do."""


@dataclass(frozen=True)
class Standardise:
    r"""The map $x \mapsto (x - \mathtt{mean}) / \mathtt{std}$, of all inputs or channel by channel.

    **Arguments:**

    - `mean`: what is subtracted, in the units of the inputs (for images: a full pixel is 1); one
      number, or one for each channel of images.
    - `std`: what is divided by, likewise; positive.

    **Raises:** `DataError` where a mean is not finite, a std is not finite and positive, or there
    are not as many of each; when called, where the channels do not divide a sample.
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]

    def __post_init__(self):
        if not np.isfinite(self.mean).all():
            raise DataError(f"Standardise(mean={self.mean}): expected a finite number.")
        if not (np.isfinite(self.std).all() and np.min(self.std) > 0):
            raise DataError(f"Standardise(std={self.std}): expected a finite number above 0.")
        if np.shape(self.mean) != np.shape(self.std):
            raise DataError(
                f"Standardise(mean={self.mean}, std={self.std}): expected as many of each."
            )

    def __call__(self, inputs: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        if mean.ndim == 0:
            return (inputs - mean) / std
        features = math.prod(inputs.shape[1:])
        if features % len(mean):
            raise DataError(
                f"inputs of shape {inputs.shape} cannot be standardised with the {len(mean)} "
                "channels of another data set: choose the preprocessing none."
            )
        channels = inputs.reshape(len(inputs), len(mean), features // len(mean))
        return ((channels - mean[:, None]) / std[:, None]).reshape(inputs.shape)


@dataclass(frozen=True)
class Provenance:
    """Where arrays come from.

    **Arguments:**

    - `source`: the address of the data set's authors.
    - `licence`: its licence.
    - `origin`: the folder, or the package, from which these arrays were read.
    - `checksums`: name of each file (or array) to the SHA-256 of its unpacked content, in
      hexadecimal.
    """

    source: str
    licence: str
    origin: str
    checksums: Mapping[str, str]

    def __str__(self) -> str:
        return f"{', '.join(self.checksums) or 'arrays'} in {self.origin}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with their class labels.

    **Arguments:**

    - `name`: the data set's name, such as `mnist`.
    - `inputs`: float32 of shape `(samples, ...)`, finite; the sources of this room flatten each
      sample.
    - `targets`: int32 of shape `(samples,)`, the label of each sample, from 0 to `classes - 1`.
    - `classes`: the number of classes.
    - `shape`: the shape of one sample before it was flattened, such as `(28, 28)`.
    - `provenance`: where the arrays come from.
    - `preprocessing`: what was done to the inputs after scaling to [0, 1]; `None` for nothing.

    **Raises:** `DataError` where the dtypes, the counts or the shapes do not fit each other, where
    an input is not finite, or where a label is out of range.
    """

    name: str
    # Not Float32[...] and Int32[...]: what is wrong with them is said below, whoever checks types.
    inputs: np.ndarray
    targets: np.ndarray
    classes: int
    shape: tuple[int, ...]
    provenance: Provenance
    preprocessing: Standardise | None = None

    def __post_init__(self):
        where = f"{self.name} ({self.provenance})"
        if self.inputs.dtype != np.float32 or self.targets.dtype != np.int32:
            raise DataError(
                f"{where}: inputs are {self.inputs.dtype} and targets {self.targets.dtype}; "
                "expected float32 and int32: convert them with astype."
            )
        if self.targets.ndim != 1:
            raise DataError(
                f"{where}: targets have shape {self.targets.shape}; expected one label a sample."
            )
        if self.inputs.shape[:1] != self.targets.shape:
            raise DataError(
                f"{where}: {self.inputs.shape[0] if self.inputs.ndim else 'no'} inputs but "
                f"{len(self.targets)} targets; expected one label for each input: take both from "
                "the same release of the data set."
            )
        if len(self.targets) == 0:
            raise DataError(f"{where}: it holds no sample; expected at least one.")
        if math.prod(self.inputs.shape[1:]) != math.prod(self.shape):
            raise DataError(
                f"{where}: a sample has shape {self.inputs.shape[1:]}; expected "
                f"{math.prod(self.shape)} features, those of the shape {self.shape}."
            )
        lowest, highest = int(self.targets.min()), int(self.targets.max())
        if lowest < 0 or highest >= self.classes:
            raise DataError(
                f"{where}: labels run from {lowest} to {highest}; expected 0 to "
                f"{self.classes - 1}: these are not the labels of {self.name}."
            )
        if not np.isfinite(self.inputs).all():
            raise DataError(
                f"{where}: some inputs are NaN or infinite; expected finite numbers: remove those "
                "samples."
            )

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Int64[np.ndarray, " chosen"]) -> "Dataset":
        """The samples at `indices`, in that order."""
        return replace(self, inputs=self.inputs[indices], targets=self.targets[indices])

    def as_images(self) -> "Dataset":
        """The same samples as images of (channels, height, width).

        **Raises:** `DataError` where a sample is no image.
        """
        return replace(self, inputs=self.inputs.reshape(len(self), *image_shape(self.shape)))

    def preprocessed(self, preprocessing: Standardise) -> "Dataset":
        """The same samples with preprocessed inputs; raises `DataError` for a second time."""
        if self.preprocessing is not None:
            raise DataError(
                f"{self.name} was preprocessed by {self.preprocessing} already; load it without."
            )
        return replace(self, inputs=preprocessing(self.inputs), preprocessing=preprocessing)


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape (channels, height, width) of an image; one of two axes has one channel.

    **Raises:** `DataError` where it is the shape of no image.
    """
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise DataError(
        f"samples of shape {shape} are no images; expected (height, width) or (channels, height, "
        "width): choose another system or another data set."
    )


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set in three disjoint parts: to learn from, to choose by, and to report.

    **Raises:** `DataError` where the parts are not of one data set.
    """

    train: Dataset
    validation: Dataset
    test: Dataset

    def __post_init__(self):
        kinds = {
            (part.name, part.classes, part.shape, part.preprocessing)
            for part in self.parts().values()
        }
        if len(kinds) > 1:
            raise DataError(
                "the splits differ in name, classes, shape or preprocessing: "
                f"{'; '.join(sorted(map(str, kinds)))}; expected three parts of one data set."
            )

    def parts(self) -> dict[str, Dataset]:
        """The three parts by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_indices(
    count: int, sizes: Sequence[int], *, seed: int
) -> tuple[Int64[np.ndarray, " size"], ...]:
    """Cut `range(count)` into random parts that are disjoint and cover it.

    The same count, sizes and seed give the same parts on every platform and NumPy version: the
    permutation sorts the raw output of PCG64, whose stream NumPy guarantees, where that of
    `Generator.permutation` may change. A part depends on the sizes before it and not on those after
    it.

    **Arguments:**

    - `count`: how many samples there are.
    - `sizes`: how many go to each part; each at least 1, and `count` together.
    - `seed`: a whole number, at least 0.

    **Returns:** the indices of each part, ascending.

    **Raises:** `DataError` where the sizes do not add up, one of them is below 1, or the seed is
    negative or not whole.
    """
    if any(size < 1 for size in sizes) or sum(sizes) != count:
        raise DataError(
            f"cannot split {count} samples into parts of {', '.join(map(str, sizes))}; expected "
            f"sizes of at least 1 that add up to {count}."
        )
    order = np.argsort(np.random.PCG64(checked_seed(seed)).random_raw(count), kind="stable")
    return tuple(np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1]))


def checked_fraction(fraction: float, *, what: str) -> float:
    """The fraction, above 0 and below 1; raises `DataError`, which calls it `what`, where not."""
    if not 0 < fraction < 1:
        raise DataError(f"{what}={fraction}: expected a number above 0 and below 1, such as 0.1.")
    return fraction


def checked_seed(seed: Any) -> int:
    """The seed, a whole number of at least 0; raises `DataError` where it is not."""
    try:
        whole = operator.index(seed)
    except TypeError:
        whole = -1
    if whole < 0:
        raise DataError(f"seed={seed!r}: expected a whole number of at least 0.")
    return whole


def split_size(count: int, fraction: float, *, what: str) -> int:
    """The whole number next to `fraction * count`, for a fraction that errors call `what`.

    **Raises:** `DataError` where that is none of the samples or all of them.
    """
    size = round(fraction * count)
    if not 0 < size < count:
        raise DataError(
            f"{what}={fraction} of {count} samples is {size}; expected at least 1 and at most "
            f"{count - 1}: choose another fraction."
        )
    return size
