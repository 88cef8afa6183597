"""Loaded data sets: `Dataset`, its `Splits`, and the error `DataError`.

These classes do not depend on files. `Dataset` checks its arrays itself, so data sets built by hand
pass the same checks as files.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64


class DataError(ValueError):
    """Raised for unusable data; the message says what was given, what was expected, what to do."""


@dataclass(frozen=True)
class Standardise:
    """The map x ↦ (x − mean) / std, for all inputs or for each channel.

    **Arguments:**

    - `mean`: one number, or one for each image channel, in units of the inputs (a full pixel is 1).
    - `std`: likewise; positive.

    **Raises:** `DataError` if a mean is not finite, a std is not finite and positive, or their
    numbers differ; when called, if the number of channels does not divide the size of a sample.
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
                f"Standardise(mean={self.mean}, std={self.std}): expected equally many of both."
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
    """The origin of arrays.

    **Arguments:**

    - `source`: the address of the data set's authors.
    - `licence`: its licence.
    - `origin`: the folder, or the package, from which these arrays were read.
    - `checksums`: maps the name of each file (or array) to the SHA-256 of its unpacked content, in
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
    - `inputs`: float32 of shape `(samples, ...)`, finite; the sources of this package flatten each
      sample.
    - `targets`: int32 of shape `(samples,)`, the label of each sample, from 0 to `classes - 1`.
    - `classes`: the number of classes.
    - `shape`: the shape of one sample before it was flattened, such as `(28, 28)`.
    - `provenance`: the origin of the arrays.
    - `preprocessing`: the map applied to the inputs after scaling to [0, 1]; `None` for none.

    **Raises:** `DataError` for wrong dtypes, inconsistent counts or shapes, inputs that are not
    finite, or labels out of range.
    """

    name: str
    # Not Float32[...] and Int32[...], so that the checks below give the error and no type checker.
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
        """Selects the samples at `indices`, in that order."""
        return replace(self, inputs=self.inputs[indices], targets=self.targets[indices])

    def as_images(self) -> "Dataset":
        """Reshapes the samples to images of (channels, height, width).

        **Raises:** `DataError` if the samples are not images.
        """
        return replace(self, inputs=self.inputs.reshape(len(self), *image_shape(self.shape)))

    def preprocessed(self, preprocessing: Standardise) -> "Dataset":
        """Applies a preprocessing to the inputs.

        **Raises:** `DataError` if the inputs were already preprocessed.
        """
        if self.preprocessing is not None:
            raise DataError(
                f"{self.name} was preprocessed by {self.preprocessing} already; load it without."
            )
        return replace(self, inputs=preprocessing(self.inputs), preprocessing=preprocessing)


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Completes the shape of an image to (channels, height, width), with one channel by default.

    **Raises:** `DataError` if it is not the shape of an image.
    """
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise DataError(
        f"samples of shape {shape} are not images; expected (height, width) or (channels, height, "
        "width): choose another system or another data set."
    )


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint training, validation and test parts of one data set.

    **Raises:** `DataError` if the parts belong to different data sets.
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
        """Returns the three parts by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_indices(
    count: int, sizes: Sequence[int], *, seed: int
) -> tuple[Int64[np.ndarray, " size"], ...]:
    """Splits `range(count)` into random disjoint parts.

    Equal arguments give equal parts on every platform and with every NumPy version, because the
    permutation is the sorting order of raw PCG64 output, which NumPy guarantees, unlike that of
    `Generator.permutation`. A part depends on the sizes of earlier parts but not of later ones.

    **Arguments:**

    - `count`: number of samples.
    - `sizes`: number of samples in each part, at least 1; they must sum to `count`.
    - `seed`: a whole number, at least 0.

    **Returns:** the indices of each part, ascending.

    **Raises:** `DataError` if the sizes do not sum to `count` or one is below 1, or if the seed is
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
    """Returns the fraction; raises `DataError`, with the name `what`, if it is not in (0, 1)."""
    if not 0 < fraction < 1:
        raise DataError(f"{what}={fraction}: expected a number above 0 and below 1, such as 0.1.")
    return fraction


def checked_seed(seed: Any) -> int:
    """Converts a seed to `int`; raises `DataError` if it is not a whole number of at least 0."""
    try:
        whole = operator.index(seed)
    except TypeError:
        whole = -1
    if whole < 0:
        raise DataError(f"seed={seed!r}: expected a whole number of at least 0.")
    return whole


def split_size(count: int, fraction: float, *, what: str) -> int:
    """Rounds `fraction * count` to a number of samples; errors call the fraction `what`.

    **Raises:** `DataError` if the result is 0 or `count`.
    """
    size = round(fraction * count)
    if not 0 < size < count:
        raise DataError(
            f"{what}={fraction} of {count} samples is {size}; expected at least 1 and at most "
            f"{count - 1}: choose another fraction."
        )
    return size
