"""The comparison behind `make train`: least control beside backpropagation on handwritten digits.

Both train the same network from the same weights on the same batches, for five seeds, and each
leaves its run folder. The hyperparameters are the least-control paper's for MNIST except the number
of epochs, which was chosen on the validation split.
"""

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


def compare(out: Path, report: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Trains both rules into `out` and returns their summaries by name."""
    from .train import run_training

    summaries = {}
    for name, config in RULES.items():

        def done(seed: int, metrics: Any, name: str = name, config: RunConfig = config) -> None:
            if metrics.epoch == config.optimiser.epochs:
                report(
                    f"{name}, seed {seed}: validation "
                    f"{100 * metrics.validation.accuracy:.2f} % after {metrics.epoch} epochs"
                )

        folder = out / name.replace(" ", "-")
        summaries[name] = run_training(config, folder, report=done)
    return summaries
