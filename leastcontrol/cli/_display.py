"""Tables and the display of work in progress, by rich, which reads no words as markup."""

from typing import TYPE_CHECKING

from .._names import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def console(*, stderr: bool = False) -> "Console":
    """Returns rich's console, to which words are words."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def progress(total: int | None = None, unit: str = "") -> "Progress":
    """Returns a display of work in progress, which leaves nothing behind when it ends.

    **Arguments:** `total`, how much there is to do in a unit, if it is known: then a bar and an
    estimate of the time that is left are shown.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shown = console(stderr=True)
    # A description is words, and no markup.
    columns = [TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
    if total is not None:
        columns[1:1] = [BarColumn(), MofNCompleteColumn(), TextColumn(unit)]
        columns += [TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False)]
    display = Progress(
        *columns,
        console=shown,
        # So that what follows a mistake is one sentence.
        transient=True,
        disable=not shown.is_terminal,
    )
    display.add_task("compiling", total=total)
    return display


def show_progress(shown: "Progress", description: str, completed: int | None = None) -> None:
    """Changes what a display of work in progress says."""
    (task,) = shown.task_ids
    shown.update(task, description=printable(description), completed=completed)


def tell_above(shown: "Progress", words: object) -> None:
    """Prints a line above a display of work in progress."""
    # A line is not broken where there is no terminal to be too narrow for it.
    shown.console.print(printable(words, keep="\n"), soft_wrap=True)


class Table:
    """A table whose cells are words."""

    def __init__(self, *headings: str, title: str | None = None, numbers: bool = False):
        """Makes an empty table.

        **Arguments:**

        * `headings`: of the columns; none where a row says itself what it is.
        * `numbers`: whether all columns but the first are flush with their right edge.
        """
        import rich.table

        words = None if title is None else printable(title)
        self._table = rich.table.Table(title=words, show_header=bool(headings))
        for place, heading in enumerate(headings):
            self._table.add_column(
                printable(heading), justify="right" if numbers and place else "left"
            )

    def add_row(self, *cells: object) -> None:
        """Adds a row of cells, each of one line or several."""
        self._table.add_row(*(printable(cell, keep="\n") for cell in cells))

    def show(self) -> None:
        """Prints the table."""
        console().print(self._table)
