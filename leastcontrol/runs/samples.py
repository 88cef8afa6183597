"""The samples of a configuration, in the shape that its system takes."""

import jax.numpy as jnp

from .. import data
from ..rules import Batch
from .config import RunConfig


def load_splits(config: RunConfig) -> data.SampleSplits:
    """Loads the data of a configuration.

    **Raises:** `data.DataError`.
    """
    splits = config.data.load()
    if not config.system.images or isinstance(splits, data.RegressionSplits):
        return splits
    return data.Splits(**{name: part.as_images() for name, part in splits.parts().items()})


def outputs_of(splits: data.SampleSplits) -> int:
    """Returns the number of outputs of a system for these samples."""
    if isinstance(splits, data.RegressionSplits):
        return splits.train.targets.shape[1]
    return splits.train.classes


def first_samples(splits: data.SampleSplits, count: int) -> Batch:
    """Returns the first validation samples."""
    part = splits.validation
    return Batch(jnp.asarray(part.inputs[:count]), jnp.asarray(part.targets[:count]))
