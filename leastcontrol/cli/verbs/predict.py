"""`leastcontrol predict`."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import tyro

from ...files import as_csv, write_whole
from ...runs.options import ConfigError
from .._display import Table
from ._verb import AbstractPlainVerb, check_file, write_result


@dataclasses.dataclass(frozen=True)
class Predict(AbstractPlainVerb):
    """Classify samples with an exported model, or show its outputs for target vectors."""

    verb: ClassVar[str] = "predict"

    model: tyro.conf.Positional[Path]
    """File that `export` wrote."""
    samples: tyro.conf.Positional[tuple[Path, ...]]
    """Images, CSV files with a sample in each row, or NumPy files (.npy)."""
    full: float | None = None
    """Value of a full pixel; 255 for images and unsigned bytes by default, else 1."""
    csv: Path | None = None
    """File for a row of each sample."""
    json: Path | None = None
    """File for the predictions."""

    def check(self) -> None:
        """Checks the options."""
        if not self.samples:
            raise ConfigError("predict has no samples: write predict MODEL FILE.")
        if self.full is not None and not 0 < self.full < math.inf:
            raise ConfigError(
                f"--full is {self.full}, but it must be above 0 and finite: write --full 255."
            )
        check_file("csv", self.csv)
        check_file("json", self.json)

    def run(self, command: str) -> int:
        """Reads the samples and prints what the model says of them."""
        from ...runs import models

        del command
        model = models.load_model(self.model)
        pixels = model.config.data.pixels
        # All files are read before one of them is answered.
        samples = [
            (path, models.read_samples(path, model.shape, self.full, pixels=pixels))
            for path in self.samples
        ]
        rows = [
            {"file": str(path), "sample": number, **dataclasses.asdict(answer)}
            for path, inputs in samples
            for number, answer in enumerate(models.predict(model, inputs))
        ]
        regression = model.config.data.regression
        _print(rows, regression)
        write_result(self.json, rows)
        if self.csv is not None:
            write_whole(self.csv, as_csv(_flat(rows, regression)))
        return 0


def _print(rows: list[dict[str, Any]], regression: bool) -> None:
    columns = ("outputs",) if regression else ("class", "probability")
    table = Table("file", "sample", *columns, "solved")
    for row in rows:
        if regression:
            answer = (_few(row["outputs"]),)
        else:
            answer = (str(row["label"]), f"{100 * max(row['probabilities']):.1f} %")
        table.add_row(row["file"], str(row["sample"]), *answer, "yes" if row["solved"] else "no")
    table.show()


def _flat(rows: list[dict[str, Any]], regression: bool) -> list[dict[str, Any]]:
    """Returns rows with a column for each of several numbers."""
    several, single = ("outputs", "output") if regression else ("probabilities", "probability")
    return [
        {name: value for name, value in row.items() if name != several}
        | {f"{single}_{number}": value for number, value in enumerate(row[several])}
        for row in rows
    ]


def _few(numbers: Sequence[float]) -> str:
    """Returns the first of several numbers."""
    shown = " ".join(f"{number:.4g}" for number in numbers[:6])
    return shown if len(numbers) <= 6 else f"{shown} …"
