"""What is shown: the one place where words reach a terminal.

What a file or a person named is never read as rich's markup, and what would steer the terminal is
shown as an escape. A terminal that cannot show a character gets another in its place.
"""

import codecs
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .._names import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# For terminals without them: the characters of tables, of help and of our own words.
_PLAIN = {
    **dict.fromkeys("─━═╌", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈", "+"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"×": "x", "±": "+/-", "…": "...", "‖": "||", "•": "*", "·": ".", "≤": "<=", "≥": ">="},
}


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end]
    plain = [_PLAIN.get(own, own) for own in words]
    return "".join(own if own.isascii() else _escape(own) for own in plain), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def prepare() -> None:
    """Makes both outputs show what they can, and never fail at a character."""
    codecs.register_error("leastcontrol", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        # What a test or a notebook put in their place may have no encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="leastcontrol")


def say(words: object) -> None:
    """Prints lines of the answer."""
    _print(words, sys.stdout)


def tell(words: object) -> None:
    """Prints lines about the work, beside the answer."""
    _print(words, sys.stderr)


def complain(fault: object) -> None:
    """Prints a fault as one line."""
    print(f"leastcontrol: {printable(fault)}", file=sys.stderr)


def _print(words: object, stream: TextIO) -> None:
    print(printable(words, keep="\n"), file=stream, flush=True)


def console(*, stderr: bool = False) -> "Console":
    """Returns rich's console, to which words are words."""
    # Imported here because help does without it.
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def progress(*columns: Any, after: Sequence[Any] = (), total: float | None = None) -> "Progress":
    """Returns a display of work in progress, which leaves nothing behind when it ends.

    **Arguments:**

    * `columns`, `after`: of rich's, before and behind the time that the work has taken.
    * `total`: how much there is to do, if it is known.
    """
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    shown = console(stderr=True)
    # A description is words, and no markup.
    first = TextColumn("{task.description}", markup=False)
    own = Progress(
        *(first, *columns, TimeElapsedColumn(), *after),
        console=shown,
        # So that what follows a mistake is one sentence.
        transient=True,
        disable=not shown.is_terminal,
    )
    own.add_task("compiling", total=total)
    return own


def show_progress(shown: "Progress", description: str, **update: Any) -> None:
    """Changes what a display of work in progress says."""
    (task,) = shown.task_ids
    shown.update(task, description=printable(description), **update)


def tell_above(shown: "Progress", words: object) -> None:
    """Prints a line above a display of work in progress."""
    shown.console.print(printable(words, keep="\n"))


class Table:
    """A table whose cells are words."""

    def __init__(self, *headings: str, title: str | None = None, numbers: bool = False):
        """**Arguments:**

        * `headings`: of the columns; none where a row says itself what it is.
        * `numbers`: whether all columns but the first are flush with their right edge.
        """
        # Imported here because help does without it.
        import rich.table

        self._table = rich.table.Table(title=title, show_header=bool(headings))
        for place, own in enumerate(headings):
            self._table.add_column(own, justify="right" if numbers and place else "left")

    def add_row(self, *cells: object) -> None:
        """Adds a row of cells, each of one line or several."""
        self._table.add_row(*(printable(own, keep="\n") for own in cells))

    def show(self) -> None:
        """Prints the table."""
        console().print(self._table)
