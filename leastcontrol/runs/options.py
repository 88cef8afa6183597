"""Options and words: what a configuration is made of, and everything that is read from that.

A **word** is one value of a choice, such as `rnn` of `--system`: a frozen dataclass whose fields
are the options that come with it. A **configuration** is a frozen dataclass of choices and of
groups of options. So a configuration is a tree; on the command line, in JSON and in TOML it is
**flat**: the word of each choice by the choice's name, and the options of the chosen words by
theirs. An option that two chosen words have in common is one option, given to both.

Each option is declared once, by `option`, with its default, help, range and choices, and each
choice by `choice`, with its words. Parsing, `--help`, checks, suggestions and files all read these
declarations (`declared`, `everywhere`). An option of a word that is not chosen has no place in the
tree, so it cannot be given: `AbstractConfig.of` names the words that have it.

This module and the words import nothing heavy; what a word builds, it imports when it builds.
"""

import abc
import dataclasses
import difflib
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from . import old_words

_KEY = "leastcontrol"
# Of the configurations in files. A file that names none is of version 1.
FORMAT = 2


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
        if not _fits(self.type, plain(value)):
            kind = getattr(self.type, "__name__", str(self.type))
            raise ConfigError(f"{self.flag} is {value!r}, which is no {kind}.")
        return _converted(self.type, plain(value))

    def check(self, value: Any) -> None:
        """Checks a value of the right type.

        **Raises:** `ConfigError` for one that is out of range, or none of the choices.
        """
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if self.choices is not None:
            for each in values:
                check_choice(self.flag, each, tuple(self.choices))
        if self.range is not None and any(each not in self.range for each in values):
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
    found: list[Declared] = []
    for field in dataclasses.fields(kind):
        make, details = field.metadata[_KEY]
        if make is Option:
            found.append(Option(field.name, field.type, field.default, **details))
        elif make is Choice:
            found.append(Choice(field.name, default=field.default, **details))  # pyright: ignore
        else:
            found.append(Group(field.name, **details))
    return tuple(found)


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


@dataclasses.dataclass(frozen=True)
class AbstractOptions(abc.ABC):  # noqa: B024 – the methods that differ by kind are those of words.
    """What has options: a word, a group or a configuration."""

    def flat(self) -> dict[str, Any]:
        """Returns the options by name, words as strings, each followed by its own options."""
        values: dict[str, Any] = {}
        for each in declared(type(self)):
            value = getattr(self, each.name)
            if isinstance(each, Option):
                values.setdefault(each.name, value)
                continue
            if isinstance(each, Choice):
                values[each.name] = value.word
            for name, inner in value.flat().items():
                values.setdefault(name, inner)
        return values

    def changed(self) -> dict[str, Any]:
        """Returns the options that differ from their defaults, and all words, as `flat` does."""
        values: dict[str, Any] = {}
        for each in declared(type(self)):
            value = getattr(self, each.name)
            if isinstance(each, Option):
                if value != each.default:
                    values[each.name] = value
                continue
            if isinstance(each, Choice):
                values[each.name] = value.word
            values |= value.changed()
        return values

    def stands_for(self, name: str, room: Any) -> Any:
        """Returns what the chosen word of an option stands for, which has a name in a room."""
        (choices,) = (
            each.choices
            for each in declared(type(self))
            if isinstance(each, Option) and each.name == name
        )
        assert choices is not None
        return getattr(room, choices[getattr(self, name)])

    def _check_values(self) -> None:
        for each in declared(type(self)):
            value = getattr(self, each.name)
            if isinstance(each, Option):
                each.check(value)
            else:
                value._check_values()

    def _parts(self) -> Iterator["AbstractPart"]:
        for each in declared(type(self)):
            if not isinstance(each, Option):
                part = getattr(self, each.name)
                yield part
                yield from part._parts()


@dataclasses.dataclass(frozen=True)
class AbstractPart(AbstractOptions):
    """A part of a configuration: a word, or a group of options."""

    def check(self, config: Any) -> None:
        """Checks what this part asks of the whole configuration.

        **Raises:** `ConfigError` for what does not fit together.
        """


@dataclasses.dataclass(frozen=True)
class AbstractWord(AbstractPart):
    """A word: one value of a choice, with its own options.

    * `word`: as it is written on the command line. The docstring is its help.
    """

    word: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class AbstractConfig(AbstractOptions):
    """A configuration: choices and groups of options that together can be run.

    * `verb`: of the command line, which runs it.
    * `what`: the verb's work, for sentences: "a meta-training".
    """

    verb: ClassVar[str]
    what: ClassVar[str]

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Makes a configuration of flat options; what is not given has its default.

        **Raises:** `ConfigError` for an unknown word, or an option that no chosen word has.
        """
        return cls._built(given, known_only=True)

    @classmethod
    def _built(cls, given: Mapping[str, Any], *, known_only: bool) -> Self:
        used: set[str] = set()
        config = _build(cls, given, used)
        if known_only:
            for name in given:
                if name not in used:
                    raise config.without_place(name, given[name])
        return config

    @classmethod
    def _of_version_1(cls, given: Mapping[str, Any]) -> Self:
        """Makes a configuration of options of version 1, where all words had all options."""
        config = cls._built(given, known_only=False)
        for name, value in given.items():
            # What had no effect had its default.
            if not config.has(name) and value not in _defaults(cls, name):
                raise config.without_place(name, value)
        return config

    def with_options(self, **given: Any) -> Self:
        """Returns the configuration with other options.

        What is not given stays as it is. Options that only a replaced word had are dropped.

        **Raises:** `ConfigError` as `of` does.
        """
        reached = type(self)._built({**self.changed(), **given}, known_only=False)
        for name, value in given.items():
            if name not in reached.flat():
                raise reached.without_place(name, value)
        return reached

    def value(self, name: str, missing: Any = None) -> Any:
        """Returns the value of an option by its name, or `missing` if no chosen word has it."""
        return self.flat().get(name, missing)

    def check(self) -> None:
        """Checks that the configuration can be run.

        **Raises:** `ConfigError` for the first value that cannot.
        """
        self._check_values()
        for part in self._parts():
            part.check(self)

    def has(self, name: str) -> bool:
        """Returns whether a chosen word has an option of a name."""
        return name in self.flat()

    @classmethod
    def knows(cls, name: str) -> bool:
        """Returns whether any word has an option of a name."""
        return any(each.name == name for each, _ in everywhere(cls))

    def without_place(self, name: str, value: Any) -> ConfigError:
        """Returns the error for an option that no chosen word has; it names those that do."""
        chosen = self.flat()
        places = [place for each, place in everywhere(type(self)) if each.name == name]
        if not places:
            known = {each.name for each, _ in everywhere(type(self))}
            return ConfigError(f"The option {name!r} is unknown{nearest(name, known)}.")
        defaults = type(self).of().flat()
        missing = min(
            (
                {n: w for n, w in place.items() if chosen.get(n, defaults.get(n)) != w}
                for place in places
            ),
            key=len,
        )
        needed = " ".join(f"{flag(n)} {w}" for n, w in missing.items())
        return ConfigError(
            f"{flag(name)} is {shown(value)}, but it has no effect without {needed}: add that, or "
            "leave it out."
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the flat options as JSON, which `from_json` reads."""
        options = {name: plain(value) for name, value in self.flat().items()}
        return {"format": FORMAT, "verb": self.verb, **options}

    @classmethod
    def from_json(cls, values: Any, source: str) -> Self:
        """Reads a configuration from JSON, and checks it.

        **Raises:** `ConfigError` naming `source` for anything but a configuration of this verb that
        can be run.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{source} holds no configuration: a JSON object is expected.")
        options = {name: value for name, value in values.items() if name not in APART}
        if verb_of(values) != cls.verb:
            raise ConfigError(
                f"{source} does not hold the configuration of {cls.what}: give the folder that "
                f"`leastcontrol {cls.verb} --out DIR` wrote."
            )
        if "format" not in values:
            options = old_words.renewed(options)
        elif values["format"] != FORMAT:
            raise ConfigError(
                f"{source} has the format {values['format']!r}, and this version reads {FORMAT}: "
                "read it with the version that wrote it."
            )
        read = read_options(cls, options, source)
        try:
            config = cls.of(**read) if "format" in values else cls._of_version_1(read)
            config.check()
        except ConfigError as error:
            raise ConfigError(f"{source} cannot be run: {error}") from error
        return config


# Of a configuration's JSON, what is no option.
APART = ("format", "verb")


def verb_of(values: Any) -> str | None:
    """Returns the verb whose configuration JSON holds; `None` for what is no configuration."""
    if not isinstance(values, dict):
        return None
    # Version 1 wrote none into the configuration of a training.
    verb = values.get("verb", "train")
    return verb if isinstance(verb, str) else None


def _build(kind: type[Any], given: Mapping[str, Any], used: set[str]) -> Any:
    values: dict[str, Any] = {}
    for each in declared(kind):
        if isinstance(each, Group):
            values[each.name] = _build(each.type, given, used)
            continue
        used.add(each.name)
        if isinstance(each, Option):
            values[each.name] = each.read(given[each.name]) if each.name in given else each.default
        else:
            word = given.get(each.name, each.default.word)
            values[each.name] = _build(each.find(word), given, used)
    return kind(**values)


def read_options(
    kind: type[AbstractConfig], values: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Reads flat options of a configuration from what JSON or TOML hold.

    **Raises:** `ConfigError` naming `source` for an unknown option, or a value of the wrong type.
    """
    types = _types(kind)
    read = {}
    for name, value in values.items():
        if name not in types:
            raise ConfigError(f"{source} has the unknown option {name!r}{nearest(name, types)}.")
        fitting = _fitting(types, name, value)
        if not fitting:
            raise ConfigError(f"{source} has {name} = {value!r}, which is not of its kind.")
        read[name] = _converted(fitting[0], value)
    return read


def _defaults(kind: type[AbstractConfig], name: str) -> list[Any]:
    """Returns the defaults that options of a name have, in any word."""
    return [
        each.default if isinstance(each, Option) else each.default.word
        for each, _ in everywhere(kind)
        if each.name == name
    ]


def _types(kind: type[AbstractConfig]) -> dict[str, list[Any]]:
    """Returns the annotations that options of a name have, in any word."""
    types: dict[str, list[Any]] = {}
    for each, _ in everywhere(kind):
        types.setdefault(each.name, []).append(each.type if isinstance(each, Option) else str)
    return types


def _fitting(types: Mapping[str, list[Any]], name: str, value: Any) -> list[Any]:
    return [annotation for annotation in types.get(name, ()) if _fits(annotation, value)]


def _fits(annotation: Any, value: Any) -> bool:
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
    if value is None:
        return True
    if annotation == (int | None):
        return whole
    if annotation == (float | None):
        return real
    return isinstance(value, str)


def _converted(annotation: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if annotation in (float, float | None) and value is not None:
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
