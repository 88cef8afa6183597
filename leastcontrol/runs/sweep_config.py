"""What a sweep searches: a TOML file of fixed options and of options to be chosen.

    [train]
    data = "mnist"
    epochs = 10

    [search]
    learning-rate = { low = 1e-4, high = 1e-2, log = true }
    hidden = [[128, 128], [256, 256]]
    controller = ["dynamic-inversion", "energy"]

It imports nothing heavy, so that mistakes are answered at once.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from .config import RunConfig
from .config_file import read_tables
from .configuration import read_options
from .options import Choice, ConfigError, check_choice, everywhere

# What a configuration is judged on, which a search that could choose it would make easier.
GIVEN = ("data", "data_dir", "validation_fraction", "split_seed", "seed", "seeds")
EXAMPLE = "learning-rate = { low = 1e-4, high = 1e-2, log = true }"


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def first(self) -> Any:
        """The first of them."""
        return self.values[0]


@dataclasses.dataclass(frozen=True)
class Range:
    """A number between two, both included, uniform or uniform in its logarithm."""

    low: float | int
    high: float | int
    log: bool

    @property
    def first(self) -> float | int:
        """The lowest."""
        return self.low


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """A sweep.

    **Arguments:**

    * `train`: the fixed options.
    * `search`: the options to be chosen, with what from.
    """

    train: dict[str, Any]
    search: dict[str, Choices | Range]

    def configuration(self, chosen: dict[str, Any]) -> RunConfig:
        """Returns the training with these values of the searched options, unchecked."""
        return RunConfig.of(**{**self.train, **chosen})

    def as_json(self) -> dict[str, Any]:
        """Returns the sweep as JSON."""
        train = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in self.train.items()
        }
        return {
            "train": train,
            "search": {name: dataclasses.asdict(own) for name, own in self.search.items()},
        }


def read_sweep(path: Path) -> SweepConfig:
    """Returns the sweep in a file.

    The first of all choices and the low ends of all ranges together must be a training that can be
    run; what cannot be run for other values is left out of the search when it is met.

    **Raises:** `ConfigError` for anything but such a file.
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
        config.configuration({name: own.first for name, own in search.items()}).check()
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
    """Returns the words that an option may be, of whatever word it is an option of."""
    found: dict[str, None] = {}
    for each, _ in everywhere(RunConfig):
        if each.name == name:
            words = [kind.word for kind in each.words] if isinstance(each, Choice) else each.choices
            found |= dict.fromkeys(words or ())
    return tuple(found)


def _choices(name: str, value: Any, source: str) -> Choices:
    if not isinstance(value, list):
        raise ConfigError(
            f"{source} has {name} = {value!r}, but it is a list of values, or a range such as "
            "{ low = 1e-4, high = 1e-2, log = true }: write a fixed value in [train]."
        )
    values = tuple(_value(name, own, source) for own in value)
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
    numbers = [isinstance(own, int | float) and not isinstance(own, bool) for own in (low, high)]
    if not all(numbers) or not isinstance(log, bool):
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
