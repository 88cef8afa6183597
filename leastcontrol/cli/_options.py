"""The options of every verb."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ..experiments.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Train(RunConfig):
    """Train a network and write a run folder."""

    out: Path | None = None
    """New folder of the run; required."""
    results: Path | None = None
    """File for the summary besides the run folder's."""
    resume: bool = False
    """Go on with the run that the folder holds, if it holds one, from its last checkpoint."""
    keep_last: int = 2
    """How many checkpoints are kept, the newest ones."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure a finished run on its validation and test sets."""

    folder: tyro.conf.Positional[Path]
    """Folder that `train` wrote."""
    data_dir: Path | None = None
    """Folder with the data set's files, if not where they were in training."""
    json: Path | None = None
    """File for the figures."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Check the method's properties on random systems, and replay reference vectors."""

    vectors: tuple[Path, ...] = ()
    """Files or folders of reference vectors."""
    json: Path | None = None
    """File for the list of checks."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Load a data set, check it and say what it holds."""

    name: tyro.conf.Positional[str] = "digits"
    """digits, mnist or fashion-mnist."""
    data_dir: Path | None = None
    """Folder with the data set's files."""
    validation_fraction: float = 1 / 12
    """Share of the samples that are not test samples, kept for validation."""
    split_seed: int = 0
    """Seed of the split."""
    json: Path | None = None
    """File for the description."""


Verb = (
    Annotated[Train, tyro.conf.subcommand("train", default=Train())]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Data, tyro.conf.subcommand("data")]
)
