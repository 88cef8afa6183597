"""From arguments to flat options, by the words that are chosen.

The words that the arguments choose say which options there are, so they are looked for first; then
tyro parses the arguments for exactly these options. What an unchosen word has is answered with the
words that have it, and not with what tyro says of an unknown option.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro

from .._names import hide_password
from ..runs.configuration import AbstractConfig, AbstractOptions
from ..runs.options import Choice, Option, declared
from ._console import tell

# What tyro colours its words with.
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


def parsed(kind: Any, prog: str, arguments: list[str], **given: Any) -> Any:
    """Returns what tyro makes of arguments; what it says of a mistake is shown like all words.

    tyro ends the process itself for `--help` and, with status 2, for an unknown or missing option.
    """
    said = io.StringIO()
    words = without_passwords(arguments)
    value = None
    try:
        with contextlib.redirect_stderr(said):
            # A mistake is answered with the words that may be shown.
            for each in (words, arguments) if words != arguments else (arguments,):
                value = tyro.cli(
                    kind,
                    prog=prog,
                    args=each,
                    config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
                    **given,
                )
    finally:
        if said.getvalue():
            tell(_COLOURS.sub("", said.getvalue()).rstrip("\n"))
    return value


def without_passwords(arguments: list[str]) -> list[str]:
    """Returns arguments in which the passwords of URLs are hidden."""
    return [hide_password(each) if "://" in each else each for each in arguments]


Chosen = TypeVar("Chosen", bound=AbstractConfig)


def chosen(config: Chosen, arguments: Sequence[str]) -> Chosen:
    """Returns a configuration with the words that arguments choose, and their default options.

    **Raises:** `ConfigError` for an unknown word.
    """
    words = values_given(arguments)
    while True:
        given = {n: words[n] for n in _choices(config) if n in words}
        new = config.with_options(**given)
        if new == config:
            return config
        config = new


def _choices(config: AbstractOptions) -> Iterator[str]:
    for each in declared(type(config)):
        if isinstance(each, Choice):
            yield each.name
        if not isinstance(each, Option):
            yield from _choices(getattr(config, each.name))


def _last_values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Walks through the options of arguments with the value that follows each."""
    for place, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals and place + 1 < len(arguments):
            value = arguments[place + 1]
        yield name.replace("-", "_"), value


def values_given(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the options that arguments give, each with the argument that follows it."""
    return dict(_last_values(arguments))


def words_given(arguments: Sequence[str], name: str) -> list[str] | None:
    """Returns the arguments that follow an option up to the next; `None` where it is not given."""
    following = None
    for place, argument in enumerate(arguments):
        given, equals, value = argument[2:].partition("=")
        if argument.startswith("--") and given.replace("-", "_") == name:
            following = [value] if equals else []
            for word in arguments[place + 1 :]:
                if word.startswith("--"):
                    break
                following.append(word)
    return following


def fields_of(configs: Sequence[AbstractOptions]) -> dict[str, tuple[Any, Any]]:
    """Returns type and default of every option that one of some configurations has."""
    fields: dict[str, tuple[Any, Any]] = {}

    def walk(part: AbstractOptions) -> None:
        for each in declared(type(part)):
            value = getattr(part, each.name)
            if isinstance(each, Option):
                fields.setdefault(each.name, (each.type, value))
                continue
            if isinstance(each, Choice):
                fields[each.name] = (str, value.word)
            walk(value)

    for config in configs:
        walk(config)
    return fields


def read_given(
    configs: Sequence[AbstractConfig],
    prog: str,
    arguments: list[str],
    command: AbstractOptions | None = None,
) -> tuple[dict[str, Any], Any]:
    """Parses the options that arguments give.

    **Arguments:**

    * `configs`: whose words are chosen; an option of one of them can be given.
    * `command`: the options that belong to the verb, and to no configuration.

    **Returns:** the given options of the configurations, and `command` with those that are given.

    **Raises:** `ConfigError` for an option that no chosen word has.
    """
    fields = fields_of(configs)
    others = {} if command is None else fields_of([command])
    names = values_given(arguments)
    for name, value in _last_values(arguments):
        if name not in fields and name not in others and configs[0].knows(name):
            raise configs[0].without_place(name, value)
    made = dataclasses.make_dataclass(
        "Options",
        [
            (name, kind, dataclasses.field(default=value))
            for name, (kind, value) in {**fields, **others}.items()
        ],
    )
    values = parsed(made, prog, arguments)
    given = {name: getattr(values, name) for name in fields if name in names}
    if command is None:
        return given, None
    return given, type(command)(**{name: getattr(values, name) for name in others})
