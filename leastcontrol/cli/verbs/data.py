"""`leastcontrol data`."""

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import tyro

from ...runs.config import RunConfig
from ...runs.options import check_choice
from ...runs.words.data import DATA
from .._console import say
from ._verb import AbstractPlainVerb, check_file, write_result

NAMES = tuple(kind.word for kind in DATA)


@dataclasses.dataclass(frozen=True)
class Data(AbstractPlainVerb):
    """Load a data set, check it and say what it holds."""

    verb: ClassVar[str] = "data"

    name: tyro.conf.Positional[str] = "digits"
    """Data set, as for `train --data`."""
    data_dir: Path | None = None
    """Folder with the data set's files."""
    validation_fraction: float | None = None
    """Share of the samples that are not test samples, kept for validation; 1/12 by default."""
    split_seed: int = 0
    """Seed of the split."""
    json: Path | None = None
    """File for the description."""

    def check(self) -> None:
        """Checks the data set and its options."""
        check_choice("The data set", self.name, NAMES)
        self.config().check()
        check_file("json", self.json)

    def config(self) -> RunConfig:
        """Returns a configuration with the data set.

        **Raises:** `ConfigError` for an option that it does not have.
        """
        options = {
            "data_dir": self.data_dir,
            "validation_fraction": self.validation_fraction,
            "split_seed": self.split_seed,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return RunConfig.of(data=self.name, **given)

    def run(self, command: str) -> int:
        """Loads the data set and prints its description."""
        from ... import data
        from ...runs.samples import load_splits

        del command
        description = data.describe(load_splits(self.config()))
        say(json.dumps(description, indent=2))
        write_result(self.json, description)
        return 0
