"""The comparison behind `make train`: least control beside backpropagation on handwritten digits.

Both train the same network from the same weights on the same batches, for five seeds, and each
leaves its run folder. The hyperparameters are the least-control paper's for MNIST except the number
of epochs, which was chosen on the validation split.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import RunConfig

LEAST_CONTROL = RunConfig(data="digits", epochs=60, seeds=(0, 1, 2, 3, 4))
BACKPROPAGATION = dataclasses.replace(LEAST_CONTROL, rule="backpropagation")
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
    from . import running

    summaries = {}
    for name, config in RULES.items():

        def done(seed: int, metrics: Any, name: str = name, config: RunConfig = config) -> None:
            if metrics.epoch == config.epochs:
                report(
                    f"{name}, seed {seed}: validation "
                    f"{100 * metrics.validation.accuracy:.2f} % after {metrics.epoch} epochs"
                )

        folder = out / name.replace(" ", "-")
        summaries[name] = running.run(config, folder, report=done)
    return summaries


def main() -> None:
    """Runs the comparison into a new folder under `runs/` and prints its table."""
    from rich.console import Console
    from rich.table import Table

    from ..training import FolderError

    console = Console()
    out = next_folder(Path("runs"))
    seeds = len(LEAST_CONTROL.seeds)
    console.print(
        f"Training a 64-256-256-10 network on digits, {seeds} seeds, by least control and by "
        "backpropagation; this takes about a minute."
    )
    try:
        summaries = compare(out, lambda line: console.print(line, highlight=False))
    except FolderError as error:
        print(f"leastcontrol: {error}", file=sys.stderr)
        sys.exit(2)
    table = Table(
        title=f"digits: test accuracy and negative log-likelihood, mean ± standard deviation over "
        f"{seeds} seeds; steps of a solve; time of a training step, and its ratio"
    )
    for heading in (
        "rule",
        "test, %",
        "NLL, nats",
        "solved, %",
        "steps/solve",
        "ms/step",
        "ratio",
    ):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    base = summaries["backpropagation"]["mean"]["step_ms_median"]
    for name, summary in summaries.items():
        mean, std, solve = summary["mean"], summary["std"], summary["solve"]
        table.add_row(
            name,
            f"{100 * mean['test_accuracy']:.2f} ± {100 * std['test_accuracy']:.2f}",
            f"{mean['test_nll']:.3f} ± {std['test_nll']:.3f}",
            f"{100 * solve['converged_fraction']:.2f}",
            f"{solve['steps_mean']:.1f}",
            f"{mean['step_ms_median']:.2f}",
            f"{mean['step_ms_median'] / base:.1f}",
        )
    console.print(table)
    console.print(f"The runs are in {out}; `leastcontrol evaluate {out}/least-control` reads one.")


if __name__ == "__main__":
    main()
