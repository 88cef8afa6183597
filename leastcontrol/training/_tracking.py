"""Where the figures of a training go besides its folder.

`metrics.jsonl` is always written. To watch trainings elsewhere, bring a `Tracker`, a class with two
methods. This module knows of no service; TensorBoard is here because it reads files and needs none.
"""

import dataclasses
import math
from pathlib import Path
from typing import Protocol

from ._trained import EpochMetrics


class Tracker(Protocol):
    """What receives the figures of one seed's training."""

    def log(self, epoch: int, figures: dict[str, float]) -> None:
        """Takes the figures of an epoch by name, as `figures_of` lists them."""

    def close(self) -> None:
        """Ends the tracking; called once, however the training ends."""


class TrackingError(RuntimeError):
    """A tracker cannot be made; the message says what to do."""


def figures_of(metrics: EpochMetrics) -> dict[str, float]:
    """Lists an epoch's figures by name, without those that are not finite.

    Figures of the validation set are called `validation/…`, and diagnostics `NAME/PART`.
    """
    figures: dict[str, float] = {}
    for name, value in dataclasses.asdict(metrics).items():
        if name == "diagnostics":
            for figure, parts in (value or {}).items():
                figures |= {f"{figure}/{part}": number for part, number in parts.items()}
        elif isinstance(value, dict):
            figures |= {f"{name}/{part}": number for part, number in value.items()}
        elif name != "epoch" and value is not None:
            figures[name] = value
    return {name: float(figure) for name, figure in figures.items() if math.isfinite(figure)}


class TensorBoard:
    """Writes TensorBoard's event files into `tensorboard/` in a run's folder.

    **Arguments:** `folder`, the run's.

    **Raises:** `TrackingError` where tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise TrackingError(
                "TensorBoard's files are written by tensorboardX, which is not installed: run "
                "`pip install 'leastcontrol[tensorboard]'`, or leave --tensorboard out."
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, epoch: int, figures: dict[str, float]) -> None:
        """Writes one point of every curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()
