"""`leastcontrol export`."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import tyro

from ...runs.options import check_choice
from .._console import say
from ._verb import AbstractPlainVerb, check_file


@dataclasses.dataclass(frozen=True)
class Export(AbstractPlainVerb):
    """Write a run's weights and configuration as one file."""

    verb: ClassVar[str] = "export"

    folder: tyro.conf.Positional[Path]
    """Folder that `train` wrote, of one seed."""
    out: Path
    """File of the model."""
    weights: str = "last"
    """last, or best by the validation accuracy."""
    data_dir: Path | None = None
    """Folder with the data set's files, if not where they were in training."""

    def check(self) -> None:
        """Checks the weights, and the file of the model."""
        check_choice("--weights", self.weights, ("last", "best"))
        check_file("out", self.out)

    def run(self, command: str) -> int:
        """Writes the model."""
        from ...runs import models

        del command
        header = models.export(self.folder, self.out, weights=self.weights, data_dir=self.data_dir)
        shape = " x ".join(map(str, header["shape"]))
        answer = f"{header['outputs']} numbers" if "outputs" in header else ""
        if "classes" in header:
            answer = f"one of {header['classes']} classes"
        say(f"{self.out} takes samples of {shape} to {answer}.")
        return 0
