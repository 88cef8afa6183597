"""What is shown in a terminal: the one place where names and figures become text on it.

Whatever comes from outside (names of files, figures of damaged runs, messages of other libraries)
may hold control characters, or what Rich takes for markup. All text passes `escaped`, and no cell
of a table is read as markup. A terminal whose encoding lacks a character gets its escape.
"""

import io
import sys
from typing import Any


def prepare() -> None:
    """Lets a terminal that cannot show a character show its escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def escaped(text: object, *, kept: str = "\n") -> str:
    """Returns text with every character that is not printable as its escape, but the kept ones."""
    return "".join(
        own if own.isprintable() or own in kept else own.encode("unicode_escape").decode()
        for own in str(text)
    )


def say(text: object, *, error: bool = False) -> None:
    """Prints a line to the output, or to that of errors and progress."""
    print(escaped(text), file=sys.stderr if error else sys.stdout, flush=True)


def complain(fault: object) -> None:
    """Prints a fault as one line."""
    print(f"leastcontrol: {escaped(fault, kept='')}", file=sys.stderr)


class Table:
    """A table of plain text.

    **Arguments:** the headings; `title`; `header`, whether the headings are shown.
    """

    def __init__(self, *headings: str, title: str | None = None, header: bool = True):
        self.headings = list(headings)
        self.title = title
        self.header = header
        self.rows: list[tuple[str, ...]] = []

    def add_column(self, heading: str) -> None:
        """Adds a column on the right."""
        self.headings.append(heading)

    def add_row(self, *cells: str) -> None:
        """Adds a row below."""
        self.rows.append(cells)

    def show(self) -> None:
        """Prints the table."""
        # Imported here because it takes long, and faults are told without it.
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        def plain(cell: Any) -> Text:
            return Text(escaped(cell))

        title = None if self.title is None else plain(self.title)
        shown = RichTable(title=title, show_header=self.header)
        for heading in self.headings or [""] * max(map(len, self.rows), default=0):
            shown.add_column(plain(heading))
        for cells in self.rows:
            shown.add_row(*map(plain, cells))
        Console().print(shown)
