"""Tables and the display of work in progress, by rich, which reads no words as markup."""

from collections.abc import Sequence

import rich.table
from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from .._names import printable


def console(*, stderr: bool = False) -> Console:
    """Returns rich's console, to which words are words."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def progress(
    *columns: ProgressColumn, after: Sequence[ProgressColumn] = (), total: int | None = None
) -> Progress:
    """Returns a display of work in progress, which leaves nothing behind when it ends.

    **Arguments:**

    * `columns`, `after`: of rich's, before and behind the time that the work has taken.
    * `total`: how much there is to do, if it is known.
    """
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


def show_progress(shown: Progress, description: str, completed: int | None = None) -> None:
    """Changes what a display of work in progress says."""
    (task,) = shown.task_ids
    shown.update(task, description=printable(description), completed=completed)


def tell_above(shown: Progress, words: object) -> None:
    """Prints a line above a display of work in progress."""
    # A line is not broken where there is no terminal to be too narrow for it.
    shown.console.print(printable(words, keep="\n"), soft_wrap=True)


class Table:
    """A table whose cells are words."""

    def __init__(self, *headings: str, title: str | None = None, numbers: bool = False):
        """**Arguments:**

        * `headings`: of the columns; none where a row says itself what it is.
        * `numbers`: whether all columns but the first are flush with their right edge.
        """
        words = None if title is None else printable(title)
        self._table = rich.table.Table(title=words, show_header=bool(headings))
        for place, own in enumerate(headings):
            self._table.add_column(printable(own), justify="right" if numbers and place else "left")

    def add_row(self, *cells: object) -> None:
        """Adds a row of cells, each of one line or several."""
        self._table.add_row(*(printable(own, keep="\n") for own in cells))

    def show(self) -> None:
        """Prints the table."""
        console().print(self._table)
