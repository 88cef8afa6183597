"""What all verbs have in common."""

import abc
import inspect
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from ...files import write_json
from ...runs.options import ConfigError, flag
from .._given import parsed, without_passwords


class AbstractVerb(abc.ABC):
    """A verb with its options.

    * `verb`: as it is written on the command line. The docstring is its help.
    """

    verb: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Makes the verb from the arguments behind it, and checks them.

        **Raises:** `ConfigError` for what cannot be run.
        """

    @abc.abstractmethod
    def run(self, command: str) -> int:
        """Runs the verb and returns its exit status; `command` is written beside results."""

    @classmethod
    def summary(cls) -> str:
        """Returns what the verb does, in a line."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @classmethod
    def program(cls) -> str:
        """Returns the command without its arguments."""
        return f"leastcontrol {cls.verb}"


class AbstractPlainVerb(AbstractVerb):
    """A verb whose options are its fields, the same whatever is given."""

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Makes the verb from its arguments, and checks them."""
        verb = parsed(cls, cls.program(), arguments)
        verb.check()
        return verb

    @abc.abstractmethod
    def check(self) -> None:
        """Checks the options.

        **Raises:** `ConfigError` for the first that cannot be used.
        """


def recorded(arguments: list[str]) -> str:
    """Returns the command as it is written beside its results, where no password may stand."""
    return "leastcontrol " + shlex.join(without_passwords(arguments))


def check_out(verb: str, out: Path | None, what: str = "run folder") -> Path:
    """Returns the folder that a verb writes.

    **Raises:** `ConfigError` if none is named.
    """
    if out is None:
        raise ConfigError(f"{verb} writes a {what}: name a new one with --out DIR.")
    return out


def check_keep_last(keep_last: int) -> None:
    """Checks the number of states that are kept.

    **Raises:** `ConfigError` for none.
    """
    if keep_last < 1:
        raise ConfigError(
            f"--keep-last is {keep_last}, but it must be at least 1: write --keep-last 2."
        )


def check_installed(what: str, extra: str, *modules: str) -> None:
    """Checks that modules are installed.

    **Raises:** `ConfigError` that names the extra with those that are missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {' and '.join(missing)}: run pip install 'leastcontrol[{extra}]'."
        )


def check_file(name: str, path: Path | None) -> None:
    """Checks that a result can be written, before the work that it is of.

    **Raises:** `ConfigError` for what is no file in a folder that exists.
    """
    if path is None:
        return
    try:
        possible = not path.is_dir() and path.parent.is_dir()
    except OSError as error:
        raise ConfigError(
            f"{flag(name)} cannot be the name of a file ({error.strerror}): name another file."
        ) from error
    if not possible:
        raise ConfigError(
            f"{flag(name)} is {path}, but it must be a file in an existing folder: make the folder "
            "first, or name another file."
        )


def write_result(path: Path | None, value: Any) -> None:
    """Writes a result as JSON, if a file is named."""
    if path is not None:
        write_json(path, value)
