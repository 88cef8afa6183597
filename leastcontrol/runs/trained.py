"""From the folder of a training to its system, and to its figures."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from .. import data, training
from ..systems import AbstractSystem
from .config import RunConfig
from .folders import read_config, seed_folders
from .samples import load_splits, outputs_of


def build_system(config: RunConfig, splits: data.SampleSplits, seed: int) -> AbstractSystem:
    """Makes the system of a configuration as it is before training."""
    return build_network(config, splits.train.shape, outputs_of(splits), seed)


def build_network(
    config: RunConfig, shape: tuple[int, ...], outputs: int, seed: int
) -> AbstractSystem:
    """Makes the system of a configuration for samples of a shape, as it is before training."""
    # A stream apart from that of the training with the same seed.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return config.system.build(shape, outputs, key)


def read_with_data(folder: Path, data_dir: Path | None) -> RunConfig:
    """Reads the configuration of a folder, with its data elsewhere if `data_dir` says so.

    **Raises:** `ConfigError`.
    """
    config = read_config(folder)
    if data_dir is not None:
        config = config.with_options(data_dir=data_dir)
        config.check()
    return config


def load_trained(
    config: RunConfig, splits: data.SampleSplits, folder: Path, seed: int, weights: str = "last"
) -> tuple[AbstractSystem, PyTree[Any]]:
    """Loads the system and the feedback weights from a seed's folder.

    **Raises:** `training.FolderError`.
    """
    system = build_system(config, splits, seed)
    feedback = config.build_rule().init(system, key=jax.random.key(seed))
    return training.RunFolder(folder).load_weights(
        weights, (system, feedback), config.single(seed).identity()
    )


def evaluate_run(folder: Path, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Measures the last weights of a finished run on its validation and test samples.

    A run of several seeds is evaluated seed by seed.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError` for a folder that is none,
    or is damaged.
    """
    config = read_with_data(folder, data_dir)
    splits = load_splits(config)
    rows = []
    for seed, path in seed_folders(config, folder).items():
        system, _ = load_trained(config, splits, path, seed)
        figures: dict[str, Any] = {"seed": seed}
        for name in ("validation", "test"):
            evaluation = training.evaluate(system, splits.parts()[name])
            for figure, value in dataclasses.asdict(evaluation).items():
                figures[f"{name}_{figure}"] = value
        rows.append(figures)
    return {"folder": str(folder), "data": config.data.word, "seeds": rows}
