"""The search space of a sweep: a TOML file with fixed options and options to be searched.

    [train]
    data = "mnist"
    epochs = 10

    [search]
    learning-rate = { low = 1e-4, high = 1e-2, log = true }
    hidden = [[128, 128], [256, 256]]
    controller = ["dynamic-inversion", "energy"]

This module imports nothing heavy, so that mistakes are reported at once.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from .config import RunConfig
from .config_file import read_tables
from .configuration import read_options
from .options import Choice, ConfigError, check_choice, everywhere

# Options that determine the data and the split: a search would choose the easiest ones.
GIVEN = ("data", "data_dir", "validation_fraction", "split_seed", "seed", "seeds")
EXAMPLE = "learning-rate = { low = 1e-4, high = 1e-2, log = true }"


@dataclasses.dataclass(frozen=True)
class Choices:
    """A choice between several values."""

    values: tuple[Any, ...]

    @property
    def first(self) -> Any:
        """The first value."""
        return self.values[0]


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers with both ends, sampled uniformly or uniformly in the logarithm."""

    low: float | int
    high: float | int
    log: bool

    @property
    def first(self) -> float | int:
        """The low end."""
        return self.low


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """A sweep.

    **Arguments:**

    * `train`: the fixed options.
    * `search`: the options to be searched, each with its choices or its range.
    """

    train: dict[str, Any]
    search: dict[str, Choices | Range]

    def configuration(self, chosen: dict[str, Any]) -> RunConfig:
        """Builds the configuration for given values of the searched options, unchecked."""
        return RunConfig.of(**{**self.train, **chosen})

    def as_json(self) -> dict[str, Any]:
        """Converts the sweep to JSON."""
        train = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.train.items()
        }
        return {
            "train": train,
            "search": {name: dataclasses.asdict(space) for name, space in self.search.items()},
        }


def read_sweep(path: Path) -> SweepConfig:
    """Reads a sweep from a file.

    The training with the first of all choices and the low ends of all ranges must be valid. Other
    combinations may be invalid; the search skips them.

    **Raises:** `ConfigError` if the file does not contain a valid sweep.
    """
    tables = read_tables(path, ("train", "search"))
    train = read_options(RunConfig, tables.get("train", {}), f"[train] of {path}")
    search = {}
    for name, value in tables.get("search", {}).items():
        source = f"[search] of {path}"
        if name in train:
            raise ConfigError(f"{path} has {name} in [train] and in [search]: write it in one.")
        if name in GIVEN:
            raise ConfigError(
                f"{source} has {name}, which says what a training is judged on and is not "
                "searched: write it in [train]."
            )
        search[name] = (
            _range(name, value, source)
            if isinstance(value, dict)
            else (_choices(name, value, source))
        )
    if not search:
        raise ConfigError(f"{path} searches nothing: write a table [search], with {EXAMPLE}, say.")
    config = SweepConfig(train, search)
    try:
        config.configuration({name: space.first for name, space in search.items()}).check()
    except ConfigError as error:
        raise ConfigError(
            f"{path} cannot be run with the first of all choices and the low ends of all ranges: "
            f"{error}"
        ) from error
    return config


def _value(name: str, value: Any, source: str) -> Any:
    (read,) = read_options(RunConfig, {name: value}, source).values()
    choices = _choices_of(name)
    if choices:
        check_choice(f"{name} in {source}", read, choices)
    return read


def _choices_of(name: str) -> tuple[str, ...]:
    """Lists the allowed words of an option, over all words that have an option of this name."""
    allowed: dict[str, None] = {}
    for each, _ in everywhere(RunConfig):
        if each.name == name:
            words = [kind.word for kind in each.words] if isinstance(each, Choice) else each.choices
            allowed |= dict.fromkeys(words or ())
    return tuple(allowed)


def _choices(name: str, value: Any, source: str) -> Choices:
    if not isinstance(value, list):
        raise ConfigError(
            f"{source} has {name} = {value!r}, but it is a list of values, or a range such as "
            "{ low = 1e-4, high = 1e-2, log = true }: write a fixed value in [train]."
        )
    values = tuple(_value(name, choice, source) for choice in value)
    if len(set(values)) < max(2, len(values)):
        raise ConfigError(
            f"{source} has {name} = {value!r}, but a choice is from at least two different values: "
            "write a fixed value in [train]."
        )
    return Choices(values)


def _range(name: str, value: dict[str, Any], source: str) -> Range:
    for key in value:
        check_choice(f"A key of {name} in {source}", key, ("low", "high", "log"))
    low, high = (_value(name, value.get(end), source) for end in ("low", "high"))
    log = value.get("log", False)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not isinstance(log, bool):
        raise ConfigError(
            f"{source} has {name} = {value!r}, but a range is of numbers, with low and high and, "
            "if it is logarithmic, log = true: write { low = 1e-4, high = 1e-2, log = true }."
        )
    if not -math.inf < low < high < math.inf or (log and low <= 0):
        raise ConfigError(
            f"{source} has {name} from {low} to {high}, but low is less than high, both are "
            "finite, and both above 0 where log is true: write other ends."
        )
    return Range(low, high, log)
