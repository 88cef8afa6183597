"""From arguments to a verb, and from its faults to a sentence and an exit status."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import NoReturn

from ._console import complain, prepare, say

NEEDED = "needs tyro and rich: run pip install 'leastcontrol[cli]'."


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits."""
    prepare()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _run(arguments)
    except KeyboardInterrupt:
        _end("Interrupted.", 130)
    except BrokenPipeError:
        # The reader has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        named = "" if error.filename is None else f"{error.filename} "
        _end(f"{named}cannot be used: {error.strerror or error}.", 2)


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["--version"]:
        say(f"leastcontrol {version('leastcontrol')}")
        sys.exit(0)
    if find_spec("tyro") is None or find_spec("rich") is None:
        if {"-h", "--help"} & set(arguments):
            say(f"usage: leastcontrol VERB [OPTIONS]\n\nWhat the verbs are and take {NEEDED}")
            sys.exit(0)
        _end(f"The command line {NEEDED}", 2)
    from ._perform import perform

    sys.exit(perform(arguments))


def _end(sentence: str, status: int) -> NoReturn:
    complain(sentence)
    sys.exit(status)
