"""Trained systems as single files, and their predictions for unlabelled samples.

A model is a file of safetensors with the configuration of the run in its header (`model_files`). It
needs neither the run folder nor the data set, and loading it runs no code. Samples are read from
images, CSV and NumPy files. Pixels are scaled to [0, 1] and preprocessed as in training.
"""

import dataclasses
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from .. import data, files
from ..equilibrium import InTurn, Tolerance, free_equilibrium, solved
from ..files.images import read_image
from ..systems import AbstractSystem
from .config import RunConfig
from .model_files import read_model, write_model
from .options import ConfigError
from .origin import versions
from .samples import load_splits, outputs_of
from .trained import build_network, load_trained, read_with_data

# Bounds the shape in a file; samples have at most rows, columns and channels.
MOST_AXES = 4
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained system, with the configuration of its run.

    * `system`: the system.
    * `config`: the configuration.
    * `shape`: the shape of one sample, such as (28, 28).
    """

    system: AbstractSystem
    config: RunConfig
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of a classifier for one sample.

    * `label`: the class with the largest output.
    * `probabilities`: the softmax of the outputs.
    * `solved`: whether the free equilibrium was found; if not, the outputs are those of the last
      point.
    """

    label: int
    probabilities: tuple[float, ...]
    solved: bool


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The prediction of a regression model for one sample.

    * `outputs`: the outputs.
    * `solved`: whether the free equilibrium was found; if not, the outputs are those of the last
      point.
    """

    outputs: tuple[float, ...]
    solved: bool


def export(
    folder: Path, out: Path, *, weights: str = "last", data_dir: Path | None = None
) -> dict[str, Any]:
    """Writes the weights and the configuration of a run to one file, and returns its header.

    **Arguments:**

    * `folder`: of a run with one seed, or of one seed of a run.
    * `out`: the file.
    * `weights`: `last`, or `best` by the validation samples.
    * `data_dir`: the folder with the files of the data set, if they have moved since training.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`.
    """
    config = read_with_data(folder, data_dir)
    seed, *others = config.all_seeds()
    if others:
        raise ConfigError(
            f"{folder} holds {1 + len(others)} seeds, and one of them is exported: write "
            f"{folder / f'seed-{seed}'}."
        )
    splits = load_splits(config)
    system, _ = load_trained(config, splits, folder, seed, weights)
    header = {
        # The model does not need the data set.
        "config": {n: v for n, v in config.as_json().items() if n != "data_dir"},
        "shape": list(splits.train.shape),
        _outputs_name(config): outputs_of(splits),
        "versions": versions(),
    }
    write_model(out, header, system)
    return header


def _outputs_name(config: RunConfig) -> str:
    return "outputs" if config.data.regression else "classes"


def load_model(path: Path) -> Model:
    """Loads a model from a file.

    **Raises:** `ConfigError` or `training.FolderError` if the file is not a model or is damaged.
    """
    file = read_model(path)
    config = RunConfig.from_json(file.header.get("config"), str(path))
    shape: Any = file.header.get("shape")
    outputs: Any = file.header.get(_outputs_name(config))
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_AXES
        or not all(type(size) is int and 0 < size < 2**31 for size in (*shape, outputs))
    ):
        raise ConfigError(f"{path} does not say which samples it is for: export the model again.")
    # Only the shapes of the arrays are computed here; the arrays are read from the file.
    like = eqx.filter_eval_shape(
        build_network, config, tuple(shape), outputs, config.all_seeds()[0]
    )
    return Model(file.arrays(like), config, tuple(shape))


def read_samples(
    path: Path, shape: tuple[int, ...], full: float | None = None, *, pixels: bool = True
) -> np.ndarray:
    """Reads the samples in a file, as float32 of shape (samples, features), with pixels in [0, 1].

    An image is one sample. A CSV file has a sample in each row. A NumPy file (.npy) has samples
    along its first axis, or is one sample.

    **Arguments:**

    * `path`: the file.
    * `shape`: the shape of one sample.
    * `full`: the value of a full pixel; by default 255 for images and unsigned bytes, otherwise 1.
    * `pixels`: whether the samples are images; if not, any finite numbers are accepted unscaled.

    **Raises:** `ConfigError` if the file cannot be read or does not fit the shape or the scale.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        values = _image(path, shape)
    elif suffix == ".csv":
        values = _csv(path)
    elif suffix == ".npy":
        values = _numpy(path)
    else:
        raise ConfigError(
            f"{path} is not of a kind that is read: give an image ({', '.join(IMAGES)}), a .csv or "
            "a .npy file."
        )
    features = math.prod(shape)
    if values.shape in (shape, (features,)):
        values = values[None]
    if values.shape[1:] not in (shape, (features,)) or len(values) == 0:
        raise ConfigError(
            f"{path} has the shape {_times(values.shape)}, but a sample of this model is "
            f"{_times(shape)} ({features} numbers): bring it to that size first."
        )
    if not pixels:
        if full is not None:
            raise ConfigError(
                f"--full is {full:g}, but a sample of this model is {features} numbers and no "
                "image: leave it out."
            )
        with np.errstate(over="ignore"):
            numbers = values.reshape(len(values), features).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise ConfigError(f"{path} has values that are not finite numbers: remove them.")
        return numbers
    if full is None:
        full = 255.0 if values.dtype == np.uint8 or suffix in IMAGES else 1.0
    with np.errstate(over="ignore"):
        scaled = (values.reshape(len(values), features) / full).astype(np.float32)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise ConfigError(
            f"{path} has values from {values.min():g} to {values.max():g}, but they must lie "
            f"between 0 and a full pixel, {full:g}: name another with --full, such as --full 255."
        )
    return scaled


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) not in (2, 3):
        raise ConfigError(
            f"{path} is an image, but a sample of this model is {_times(shape)}: give a .csv or a "
            ".npy file."
        )
    pixels = _from_file(lambda: read_image(path, colours=len(shape) == 3), path)
    return 255 * (pixels if len(shape) == 2 else pixels.transpose(2, 0, 1))


def _from_file(read: Callable[[], Any], path: Path) -> Any:
    """Calls a function that reads a file, and converts its errors to `ConfigError`."""
    try:
        return read()
    except files.FileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name a file.") from error


def _csv(path: Path) -> np.ndarray:
    text = _from_file(lambda: files.read_text(path), path)
    try:
        with warnings.catch_warnings():
            # NumPy only warns of an empty file.
            warnings.simplefilter("error")
            return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be read as rows of numbers with commas between them "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})."
        ) from error


def _numpy(path: Path) -> np.ndarray:
    content = _from_file(lambda: files.read_bytes(path), path)
    try:
        # NumPy raises an error if the header promises more than the file contains.
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read as an array of NumPy.") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "uif":
        raise ConfigError(f"{path} does not hold one array of real numbers.")
    return values


@eqx.filter_jit
def _outputs(
    system: AbstractSystem, inputs: Float[Array, "samples ..."]
) -> tuple[Float[Array, "samples outputs"], Array]:
    solution = free_equilibrium(
        system,
        jax.vmap(system.drive)(inputs),
        solver=InTurn(),
        tolerance=Tolerance(),
    )
    return jax.vmap(system.readout)(solution.value), solved(solution)


def predict(
    model: Model, inputs: Float32[np.ndarray, "samples features"], *, batch_size: int = 1000
) -> list[Prediction] | list[Estimate]:
    """Predicts from samples as returned by `read_samples`, at the free equilibrium of the model.

    `batch_size` is the number of samples that are computed at a time.
    """
    preprocessing = model.config.data.standardisation()
    inputs = inputs if preprocessing is None else preprocessing(inputs)
    if model.config.system.images:
        inputs = inputs.reshape(len(inputs), *data.image_shape(model.shape))
    rows: list[Any] = []
    for first in range(0, len(inputs), batch_size):
        part = jnp.asarray(inputs[first : first + batch_size])
        outputs, is_solved = _outputs(model.system, part)
        values = outputs if model.config.data.regression else jax.nn.softmax(outputs)
        rows += [
            _prediction(model.config, sample_values, bool(sample_solved))
            for sample_values, sample_solved in zip(
                np.asarray(values), np.asarray(is_solved), strict=True
            )
        ]
    return rows


def _prediction(config: RunConfig, values: np.ndarray, is_solved: bool) -> Prediction | Estimate:
    numbers = tuple(values.tolist())
    if config.data.regression:
        return Estimate(numbers, is_solved)
    return Prediction(int(values.argmax()), numbers, is_solved)
