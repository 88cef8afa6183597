"""What the verbs that run a configuration have in common."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from ...runs.config import AbstractSeededConfig
from ...runs.configuration import AbstractPart
from ...runs.options import option
from .._console import say
from .._given import chosen, read_given
from .._help import help_of
from ._verb import AbstractVerb

Config = TypeVar("Config", bound=AbstractSeededConfig)


@dataclasses.dataclass(frozen=True)
class RunCommand(AbstractPart):
    """The options of a verb that writes a run folder."""

    out: Path | None = option(None, "New folder of the run; required")
    results: Path | None = option(None, "File for the summary; besides the run folder's")
    resume: bool = option(False, "Go on with the folder's run; a new one if there is none")


@dataclasses.dataclass(frozen=True)
class CheckpointCommand(RunCommand):
    """The options of a verb that keeps states to go on from."""

    keep_last: int = option(2, "Checkpoints that are kept; the newest ones")


class AbstractConfiguredVerb(AbstractVerb, Generic[Config]):
    """A verb with a configuration, and with options that belong to the command.

    * `kind`, `command_kind`: the classes of both.
    """

    kind: ClassVar[type[AbstractSeededConfig]]
    command_kind: ClassVar[type[AbstractPart]]

    def __init__(self, config: Config, command: Any):
        self.config, self.command = config, command

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Makes the verb from its arguments, and checks them."""
        show_help(cls, arguments)
        base = cls.base(arguments)
        words = chosen(base, arguments)
        given, command = read_given([words], cls.program(), arguments, cls.command_kind())
        config = base.with_options(**given)
        config.check()
        verb = cls(config, command)  # pyright: ignore[reportArgumentType]
        verb.check()
        return verb

    @classmethod
    def base(cls, arguments: list[str]) -> AbstractSeededConfig:
        """Returns the configuration that options are given to."""
        return cls.kind.of()

    def check(self) -> None:
        """Checks the options of the command.

        **Raises:** `ConfigError` for the first that cannot be used.
        """


def show_help(verb: type[AbstractConfiguredVerb], arguments: list[str]) -> None:
    """Shows the help and ends the process, if arguments ask for it."""
    asked = [place for place, argument in enumerate(arguments) if argument in ("-h", "--help")]
    if not asked:
        return
    everything = "all" in arguments[asked[0] + 1 :]
    config = chosen(verb.kind.of(), arguments)
    say(help_of(verb.program(), verb.summary(), config, verb.command_kind(), everything=everything))
    sys.exit(0)
