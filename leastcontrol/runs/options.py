"""The declarations of options and of choices, from which everything else is read.

An option is declared once, by `option`, as a field of a frozen dataclass: with its default, help,
range and choices. A choice between words is declared by `choice`, and a group of options by
`group`. `declared` gives the declarations of a class, and `everywhere` those of all words that can
be chosen, with what has to be chosen for each: its place. Parsing, `--help`, checks, suggestions
and files all read these. `configuration` makes a tree of them.

It imports nothing heavy.
"""

import dataclasses
import difflib
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .configuration import AbstractOptions, AbstractWord

_KEY = "leastcontrol"

# A number that may be left to be chosen by what is measured.
AUTO = "auto"
FloatOrAuto = float | Literal["auto"]


class ConfigError(ValueError):
    """A configuration cannot be run; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that an option may be.

    **Arguments:** `low` and `high`, which belong to the range unless `above` or `below` is set.
    """

    low: float | int = -math.inf
    high: float | int = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float | int) -> bool:
        # A number that is not finite is in no range, and one that is no number fails both tests.
        lowest = self.low < value if self.above else self.low <= value
        highest = value < self.high if self.below else value <= self.high
        return lowest and highest and -math.inf < value < math.inf

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low:g}"
        if self.high == math.inf:
            return f"{low} and finite"
        if not self.above and not self.below:
            return f"from {self.low:g} to {self.high:g}"
        return f"{low} and {'below' if self.below else 'at most'} {self.high:g}"


POSITIVE = Range(0, above=True)
NON_NEGATIVE = Range(0)
SHARE = Range(0, 1, above=True, below=True)
# A share that may be none.
PART = Range(0, 1, below=True)


def at_least(low: int) -> Range:
    """Returns the range from a whole number upwards."""
    return Range(low)


@dataclasses.dataclass(frozen=True)
class Option:
    """One declared option.

    **Arguments:**

    * `name`: in Python and in files; `flag` is that of the command line.
    * `type`: annotation of its field.
    * `default`: its value where it is not given.
    * `help`: what it is, in one sentence that names its unit.
    * `range`: of a number, or of each number of several.
    * `choices`: the words that a value, or each of several, is one of, with the name of what each
      stands for.
    """

    name: str
    type: Any
    default: Any
    help: str
    range: Range | None = None
    choices: Mapping[str, str] | None = None

    @property
    def flag(self) -> str:
        """The option as it is written on the command line."""
        return flag(self.name)

    def read(self, value: Any) -> Any:
        """Returns a value as the option has it: a whole number as a real one if that is meant.

        **Raises:** `ConfigError` for a value of another type.
        """
        if not fits(self.type, plain(value)):
            kind = getattr(self.type, "__name__", str(self.type))
            kind = f"number, and not {AUTO}" if self.type == FloatOrAuto else kind
            raise ConfigError(f"{self.flag} is {value!r}, which is no {kind}.")
        return converted(self.type, plain(value))

    def check(self, value: Any) -> None:
        """Checks a value of the right type.

        **Raises:** `ConfigError` for one that is out of range, or none of the choices.
        """
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if self.choices is not None:
            for each in values:
                check_choice(self.flag, each, tuple(self.choices))
        numbers = [each for each in values if self.type != FloatOrAuto or each != AUTO]
        if self.range is not None and any(each not in self.range for each in numbers):
            each = "each " if isinstance(value, tuple) else ""
            refuse(self.name, value, f"{each}{self.range}", self.example())

    def example(self) -> str:
        """Returns a value that can be given, as it is written on the command line."""
        if self.default is not None and self.default != ():
            return shown(self.default)
        assert self.range is not None
        low, high = max(self.range.low, 0), self.range.high
        return "1" if low < 1 <= high else f"{low:g}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One declared choice: an option whose value is a word, with the options of that word.

    **Arguments:** `words`, the classes that can be chosen; `default`, the word where none is given.
    """

    name: str
    words: tuple[type["AbstractWord"], ...]
    default: "AbstractWord"
    help: str

    @property
    def flag(self) -> str:
        """The choice as it is written on the command line."""
        return flag(self.name)

    def find(self, word: str, what: str | None = None) -> type["AbstractWord"]:
        """Finds the class of a word.

        **Raises:** `ConfigError`, which calls the word `what`, for one that is none.
        """
        known = {kind.word: kind for kind in self.words}
        check_choice(what or self.flag, word, tuple(known))
        return known[word]


@dataclasses.dataclass(frozen=True)
class Group:
    """One declared group of options that every configuration of its kind has."""

    name: str
    type: type["AbstractOptions"]


def option(
    default: Any,
    help: str,
    *,
    range: Range | None = None,
    choices: Mapping[str, str] | Sequence[str] | None = None,
) -> Any:
    """Declares an option of a word or a group; the field's annotation is its type.

    **Arguments:** see `Option`; `choices` without names stand for themselves.
    """
    if choices is not None and not isinstance(choices, Mapping):
        choices = {word: word for word in choices}
    details = {"help": help, "range": range, "choices": choices}
    return dataclasses.field(default=default, metadata={_KEY: (Option, details)})


def choice(words: Sequence[type["AbstractWord"]], default: type["AbstractWord"], help: str) -> Any:
    """Declares a choice between words; the default is one of them, with its default options."""
    details = {"words": tuple(words), "help": help}
    return dataclasses.field(default=default(), metadata={_KEY: (Choice, details)})


def group(kind: type["AbstractOptions"]) -> Any:
    """Declares a group of options."""
    return dataclasses.field(default=kind(), metadata={_KEY: (Group, {"type": kind})})


def words_in(package: str, *modules: str) -> tuple[type[Any], ...]:
    """Collects the words of a choice, one from each of some modules of a package.

    **Arguments:** `modules`, in the order in which their words are shown.
    """
    words = []
    for name in modules:
        module = importlib.import_module(f"{package}.{name}")
        (word,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and "word" in vars(value)
        )
        words.append(word)
    return tuple(words)


Declared = Option | Choice | Group


def declared(kind: type["AbstractOptions"]) -> tuple[Declared, ...]:
    """Returns what a class declares, in the order of its fields, without what its words declare."""
    declarations: list[Declared] = []
    for field in dataclasses.fields(kind):
        make, details = field.metadata[_KEY]
        if make is Option:
            declarations.append(Option(field.name, field.type, field.default, **details))
        elif make is Choice:
            declarations.append(Choice(field.name, default=field.default, **details))  # pyright: ignore
        else:
            declarations.append(Group(field.name, **details))
    return tuple(declarations)


# The words that have to be chosen for an option to have a place, by the names of their choices.
Place = Mapping[str, str]


def everywhere(
    kind: type["AbstractOptions"], place: Place | None = None
) -> Iterator[tuple[Option | Choice, Place]]:
    """Walks through all options and choices of a class and of all words, with their places."""
    place = {} if place is None else place
    for each in declared(kind):
        if isinstance(each, Group):
            yield from everywhere(each.type, place)
            continue
        yield each, place
        if isinstance(each, Choice):
            for word in each.words:
                yield from everywhere(word, {**place, each.name: word.word})


def fits(annotation: Any, value: Any) -> bool:
    """Returns whether a value, as JSON and TOML have it, is of the type of an option."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if annotation == tuple[int, ...]:
        return isinstance(value, list) and all(
            isinstance(item, int) and not isinstance(item, bool) for item in value
        )
    if annotation == tuple[str, ...]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if annotation in (str, bool):
        return isinstance(value, annotation)
    if annotation is int:
        return whole
    # A whole number may be too large for a float.
    real = isinstance(value, float) or (whole and abs(value) < 2**53)
    if annotation is float:
        return real
    if annotation == FloatOrAuto:
        return real or value == AUTO
    if value is None:
        return True
    if annotation == (int | None):
        return whole
    if annotation == (float | None):
        return real
    return isinstance(value, str)


def converted(annotation: Any, value: Any) -> Any:
    """Returns a value that fits as the option has it."""
    if isinstance(value, list):
        return tuple(value)
    if annotation in (float, float | None, FloatOrAuto) and value not in (None, AUTO):
        return float(value)
    return Path(value) if annotation == (Path | None) and value is not None else value


def plain(value: Any) -> Any:
    """Returns the value of an option as JSON and TOML have it."""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def flag(name: str) -> str:
    """Returns an option as it is written on the command line."""
    return "--" + name.replace("_", "-")


def shown(value: Any) -> str:
    """Returns the value of an option as it is written on the command line."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return str(value)


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Checks that a value is one of some choices.

    **Raises:** `ConfigError`, which calls the value `what`, if it is none of them.
    """
    if value not in choices:
        raise ConfigError(
            f"{what} is {value!r}, but it is one of {', '.join(choices)}{nearest(value, choices)}."
        )


def nearest(word: str, known: Any) -> str:
    """Returns the end of a sentence that names the nearest known word, if one is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""


def refuse(name: str, value: Any, expected: str, example: str) -> None:
    """Raises the `ConfigError` for an option that must be something else."""
    given = "empty" if value == () else shown(value)
    raise ConfigError(
        f"{flag(name)} is {given}, but it must be {expected}: write {flag(name)} {example}."
    )
