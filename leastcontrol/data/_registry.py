"""The list of data sets, and the function that loads one by name."""

import difflib
from typing import Any

import numpy as np

from ._cifar import CIFAR10
from ._dataset import (
    DataError,
    Dataset,
    Splits,
    Standardise,
    checked_fraction,
    checked_seed,
    split_indices,
    split_size,
)
from ._digits import DIGITS
from ._fashion_mnist import FASHION_MNIST
from ._mnist import MNIST
from ._regression import Regression, RegressionSplits, SampleSplits
from ._source import AbstractSource, Folder

# To add a data set, write one file with its source and add an entry here.
SOURCES: tuple[AbstractSource, ...] = (DIGITS, MNIST, FASHION_MNIST, CIFAR10)

# Fraction of test samples for data sets without an official test set.
TEST_FRACTION = 0.2


def names() -> tuple[str, ...]:
    """Lists the names of the data sets, beginning with the offline default."""
    return tuple(source.name for source in SOURCES)


def load(
    name: str | AbstractSource,
    *,
    data_dir: Folder | None = None,
    cache_dir: Folder | None = None,
    validation_fraction: float = 1 / 12,
    split_seed: int = 0,
    preprocessing: Standardise | None = None,
) -> Splits:
    """Loads a data set, verifies its checksums and splits it.

    An official test set is used as it is. Without one, a fifth of the samples becomes the test set;
    its choice depends on the seed but not on the validation fraction. The validation set is a
    random part of the remaining samples.

    **Arguments:**

    - `name`: one of [`leastcontrol.data.names`][], or an `AbstractSource`.
    - `data_dir`: a folder that contains the files, directly or in a subfolder with the name of the
      data set; by default `$LEASTCONTROL_DATA`. If neither is given, the packages of the operating
      system, the cache and the public mirrors are tried in this order.
    - `cache_dir`: the folder for downloads; by default `$LEASTCONTROL_CACHE`, or else
      `$XDG_CACHE_HOME/leastcontrol`, or else `~/.cache/leastcontrol`.
    - `validation_fraction`: fraction of the samples outside the test set that are for validation,
      above 0 and below 1; by default 1/12, which is 5 000 of the 60 000 samples of MNIST.
    - `split_seed`: a whole number, at least 0; a seed gives the same splits on every platform.
    - `preprocessing`: applied to the inputs after scaling to [0, 1].

    **Returns:** the three parts, with inputs of shape `(samples, features)`.

    **Raises:** `DataError` if the name is unknown, an option is out of range, or the data is
    missing, damaged or different from what was published.
    """
    # Checked before reading, so that a wrong option causes no download.
    checked_fraction(validation_fraction, what="validation_fraction")
    checked_seed(split_seed)
    source = _source(name) if isinstance(name, str) else name
    learning, test = source.read(data_dir, cache_dir)
    count = len(learning)
    test_size = split_size(count, TEST_FRACTION, what="the test fraction") if test is None else 0
    validation_size = split_size(count - test_size, validation_fraction, what="validation_fraction")
    sizes = (validation_size, count - test_size - validation_size)
    if test is None:
        held_out, *rest = split_indices(count, (test_size, *sizes), seed=split_seed)
        test = learning.take(held_out)
    else:
        rest = split_indices(count, sizes, seed=split_seed)
    validation, train = (learning.take(part) for part in rest)
    splits = Splits(train=train, validation=validation, test=test)
    if preprocessing is None:
        return splits
    return Splits(
        **{part: data.preprocessed(preprocessing) for part, data in splits.parts().items()}
    )


def describe(splits: SampleSplits) -> dict[str, Any]:
    """Describes a loaded data set by a dictionary for JSON.

    **Returns:** for samples with labels, `name`, `classes`, `shape` of a sample before flattening,
    `source`, `licence`, `origin` (the folder or package), `checksums` (SHA-256 of the unpacked
    content by file), `preprocessing` (`mean` and `std`, or `None`), and `splits`, which gives for
    `train`, `validation` and `test` the `count`, the `per_class` counts in the order of the labels,
    and the `minimum` and `maximum` of the inputs. For a regression, `name`, `shape`, the number of
    `outputs`, and `splits` with the `count`, the `minimum` and `maximum` of the inputs, and
    `target_minimum`, `target_maximum` and `target_deviation`.
    """
    if isinstance(splits, RegressionSplits):
        return {
            "name": splits.train.name,
            "shape": list(splits.train.shape),
            "outputs": splits.train.targets.shape[1],
            "splits": {part: _ranges(data) for part, data in splits.parts().items()},
        }
    train, test = splits.train, splits.test
    scale = train.preprocessing
    return {
        "name": train.name,
        "classes": train.classes,
        "shape": list(train.shape),
        "source": train.provenance.source,
        "licence": train.provenance.licence,
        "origin": train.provenance.origin,
        "checksums": {**train.provenance.checksums, **test.provenance.checksums},
        "preprocessing": None if scale is None else {"mean": scale.mean, "std": scale.std},
        "splits": {part: _counts(data) for part, data in splits.parts().items()},
    }


def _counts(data: Dataset) -> dict[str, Any]:
    return {
        "count": len(data),
        "per_class": np.bincount(data.targets, minlength=data.classes).tolist(),
        "minimum": float(data.inputs.min()),
        "maximum": float(data.inputs.max()),
    }


def _ranges(data: Regression) -> dict[str, Any]:
    return {
        "count": len(data),
        "minimum": float(data.inputs.min()),
        "maximum": float(data.inputs.max()),
        "target_minimum": float(data.targets.min()),
        "target_maximum": float(data.targets.max()),
        "target_deviation": float(data.targets.std()),
    }


def _source(name: str) -> AbstractSource:
    for source in SOURCES:
        if source.name == name:
            return source
    nearest = difflib.get_close_matches(name.lower(), names(), n=1, cutoff=0.5)
    suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise DataError(
        f"no data set is called {name!r}: {suggestion}expected one of {', '.join(names())}."
    )
