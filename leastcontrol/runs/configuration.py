"""Words and configurations: what is chosen, as a tree, and flat in files and on the command line.

A **word** is one value of a choice, such as `rnn` of `--system`: a frozen dataclass whose fields
are the options that come with it. A **configuration** is a frozen dataclass of choices and of
groups of options. So a configuration is a tree; on the command line, in JSON and in TOML it is
**flat**: the word of each choice by the choice's name, and the options of the chosen words by
theirs. An option that two chosen words have in common is one option, given to both. An option of a
word that is not chosen has no place in the tree, so it cannot be given: `AbstractConfig.of` names
the words that have it.

This module and the words import nothing heavy; what a word builds, it imports when it builds.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from . import old_words
from .options import (
    Choice,
    ConfigError,
    Group,
    Option,
    converted,
    declared,
    everywhere,
    fits,
    flag,
    nearest,
    plain,
    shown,
)

# Of the configurations in files. A file that names none is of version 1.
FORMAT = 2


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
        read[name] = converted(fitting[0], value)
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
    return [annotation for annotation in types.get(name, ()) if fits(annotation, value)]
