"""The comparison behind `make train`: least control beside backpropagation on handwritten digits.

Both train the same network from the same weights on the same batches, for five seeds, and each
leaves its run folder. The hyperparameters are the least-control paper's for MNIST except the number
of epochs, which was chosen on the validation split.
"""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import RunConfig

LEAST_CONTROL = RunConfig.of(data="digits", epochs=60, seeds=(0, 1, 2, 3, 4))
BACKPROPAGATION = LEAST_CONTROL.with_options(rule="backpropagation")
RULES = {"least control": LEAST_CONTROL, "backpropagation": BACKPROPAGATION}


def next_folder(root: Path) -> Path:
    """Returns the first of `root/digits-1`, `root/digits-2`, … that does not exist."""
    return next(
        folder
        for number in itertools.count(1)
        if not (folder := root / f"digits-{number}").exists()
    )


def folder_name(rule: str) -> str:
    """Returns the name of a rule's run folder."""
    return rule.replace(" ", "-")


def compare(out: Path, report: Callable[[str, int, Any], None]) -> dict[str, dict[str, Any]]:
    """Trains both rules into `out` and returns their summaries by name.

    **Arguments:** `report`, called with the rule, the seed and the metrics of an epoch when it is
    saved.
    """
    from .train import run_training

    return {
        name: run_training(config, out / folder_name(name), report=functools.partial(report, name))
        for name, config in RULES.items()
    }
