"""From arguments to a verb, and from its faults to a sentence and an exit status."""

import signal

from ..files import FileError
from ..runs.interruption import Terminated
from ..runs.options import ConfigError, check_choice
from ._console import complain, say, tell
from ._display import only_downloads
from .verbs import VERBS, AbstractVerb
from .verbs._verb import recorded


def perform(arguments: list[str]) -> int:
    """Runs the verb that arguments name and returns its exit status."""
    if not arguments:
        tell(overview())
        complain("No verb is given: write one of these, such as leastcontrol train --out DIR.")
        return 2
    if arguments[0] in ("-h", "--help"):
        say(overview())
        return 0
    try:
        verb = _verb(arguments[0]).parse(arguments[1:])
    except ConfigError as error:
        complain(error)
        return 2
    # What verbs do takes JAX, and so do the faults of what they do.
    from .. import report
    from ..data import DataError
    from ..runs.represent import RepresentError
    from ..training import (
        DevicesError,
        MetaTrainingError,
        ProcessError,
        TrackingError,
        TrainingError,
    )
    from ..verify.vectors import VectorError

    mistakes = (
        *(ConfigError, DataError, DevicesError, FileError),
        *(report.ReportError, VectorError),
    )
    try:
        with only_downloads():
            return verb.run(recorded(arguments))
    except mistakes as error:
        complain(error)
        return 2
    except (TrainingError, MetaTrainingError, ProcessError, RepresentError, TrackingError) as error:
        complain(error)
        return 1
    except Terminated as error:
        complain(error)
        return 128 + signal.SIGTERM


def _verb(word: str) -> type[AbstractVerb]:
    known = {kind.verb: kind for kind in VERBS}
    check_choice("The verb", word, tuple(known))
    return known[word]


def overview() -> str:
    """Returns the help of the program: its verbs, a line each."""
    lines = [f"  {kind.verb:<11}{kind.summary()}" for kind in VERBS]
    return "\n".join(
        [
            "usage: leastcontrol VERB [OPTIONS]",
            "Train systems that settle by the least control they need.",
            "",
            *lines,
            "",
            "leastcontrol VERB --help shows the options of a verb, and --version the version.",
        ]
    )
