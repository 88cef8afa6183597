"""The help of a verb, from what its configuration declares.

`--help` shows the options of the chosen words, a line for each where it fits: what it is, up to the
first semicolon, its choices and its default. `--help all` shows all words with all of their
options, and the whole text.
"""

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from ..runs.configuration import AbstractConfig, AbstractOptions, AbstractWord
from ..runs.options import Choice, Group, Option, declared, shown

WIDTH = 80
# Where the text of an option begins.
COLUMN = 29


def help_of(
    prog: str, summary: str, config: AbstractConfig, command: AbstractOptions, *, everything: bool
) -> str:
    """Returns the help of a verb with a configuration.

    **Arguments:** `config`, whose words are chosen; `command`, the options of the verb itself;
    `everything`, whether all words are shown.
    """
    lines = [f"usage: {prog} --out DIR [OPTIONS]", *textwrap.wrap(summary, WIDTH)]
    for each in declared(type(config)):
        part = getattr(config, each.name)
        lines.append(f"{each.name}:")
        if isinstance(each, Choice):
            lines += _choice(each, part, everything)
        else:
            lines += _options(type(part), part, everything)
    lines += ["command:", *_options(type(command), command, everything)]
    if not everything:
        lines.append("All words and all of their options: --help all.")
    return "\n".join(lines)


def _choice(choice: Choice, part: AbstractWord, everything: bool) -> Iterator[str]:
    words = _words([kind.word for kind in choice.words], part.word)
    text = f"{_text(choice.help, everything)}: {words}"
    yield from _line(f"{choice.flag} WORD", text)
    if not everything:
        yield from _options(type(part), part, everything)
        return
    for kind in choice.words:
        yield f"  {choice.flag} {kind.word}: {_summary(kind)}"
        yield from _options(kind, kind(), everything)


def _options(kind: type[AbstractOptions], part: AbstractOptions, everything: bool) -> Iterator[str]:
    for each in declared(kind):
        value = getattr(part, each.name)
        if isinstance(each, Choice):
            yield from _choice(each, value, everything)
        elif isinstance(each, Group):
            yield from _options(each.type, value, everything)
        else:
            left = f"{each.flag} {_kind(each)}".rstrip()
            yield from _line(left, _description(each, value, everything))


def _description(option: Option, value: Any, everything: bool) -> str:
    text = _text(option.help, everything)
    if option.choices is not None:
        return f"{text}: {_words(list(option.choices), value)}"
    if value is None or value == () or value is False:
        return text
    if isinstance(value, float):
        return f"{text} [{value:.4g}]"
    return f"{text} [{' '.join(value[:2])} …]" if _is_long(value) else f"{text} [{shown(value)}]"


def _words(words: list[str], chosen: str) -> str:
    """Returns the words of a choice, the chosen one in brackets."""
    return " | ".join(f"[{word}]" if word == chosen else word for word in words)


def _is_long(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 3 and isinstance(value[0], str)


def _text(text: str, everything: bool) -> str:
    return text if everything else text.partition(";")[0]


def _kind(option: Option) -> str:
    if option.choices is not None:
        return "WORD"
    if option.type is bool:
        return ""
    name = str(option.type)
    several = " …" if "tuple" in name else ""
    for part, word in (("Path", "DIR"), ("float", "X"), ("int", "N"), ("str", "NAME")):
        if part in name:
            return f"{word}{several}"
    raise AssertionError(option.type)


def _line(left: str, text: str) -> list[str]:
    """Returns an option with its text beside it, or below where it is too long."""
    left = f"  {left}"
    start = f"{left:<{COLUMN}}" if len(left) < COLUMN else f"{left} "
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * COLUMN,
        break_on_hyphens=False,
    )
    if len(lines) <= 2:
        return lines
    # Of a long list more fits on a line that begins further left.
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def _summary(kind: type[AbstractOptions]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
