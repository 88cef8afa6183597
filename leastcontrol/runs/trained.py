"""From the folder of a training to its system, and to its figures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import data, files, training
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


def measure_test(
    system: AbstractSystem, test: data.Samples
) -> tuple[training.AnyEvaluation, dict[str, Any]]:
    """Measures a system on test samples, and counts a classifier's answers under `confusion`."""
    if isinstance(test, data.Regression):
        return training.evaluate(system, test), {}
    tested, counts = training.evaluate_and_count(system, test)
    return tested, {"confusion": files.strict(dataclasses.asdict(counts))}


def sum_of_confusions(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums the counts of answers over the seeds; nothing where one seed has none."""
    if any("confusion" not in summary for summary in summaries):
        return {}
    each = [summary["confusion"] for summary in summaries]
    return {
        "confusion": {
            name: np.sum([np.asarray(one[name]) for one in each], axis=0).tolist()
            for name in ("counts", "unsolved")
        }
    }


def evaluate_run(folder: Path, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Measures the last weights of a finished run on its validation and test samples.

    A run of several seeds is evaluated seed by seed. A classifier's answers to the test samples are
    counted under `confusion`, and summed over the seeds.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError` for a folder that is none,
    or is damaged.
    """
    config = read_with_data(folder, data_dir)
    splits = load_splits(config)
    rows = []
    for seed, path in seed_folders(config, folder).items():
        system, _ = load_trained(config, splits, path, seed)
        figures: dict[str, Any] = {"seed": seed}
        tested, confusion = measure_test(system, splits.test)
        evaluations = {"validation": training.evaluate(system, splits.validation), "test": tested}
        for name, evaluation in evaluations.items():
            for figure, value in dataclasses.asdict(evaluation).items():
                figures[f"{name}_{figure}"] = value
        rows.append({**figures, **confusion})
    evaluated = {"folder": str(folder), "data": config.data.word, "seeds": rows}
    return {**evaluated, **sum_of_confusions(rows)}
