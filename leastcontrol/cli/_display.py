"""Tables, curves of characters, and the display of work in progress; rich reads no words as markup.

A table fits the terminal: names are wrapped at spaces and hyphens, numbers never, and columns that
find no room are left out, the last ones first. `Work` is one live line on a terminal; elsewhere its
lines are printed at a modest rate. Downloads inside it are shown below it.
"""

import contextlib
import math
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from .._names import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

# Seconds between two lines about work where there is no terminal.
PAUSE = 10.0
BARS = "▁▂▃▄▅▆▇█"
# Characters of a curve, and those that a table puts between two columns and around all.
LONGEST_CURVE = 24
BETWEEN, AROUND = 3, 1


def console(*, stderr: bool = False) -> "Console":
    """Returns rich's console, to which words are words."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def curve(values: Sequence[float | None]) -> str:
    """Draws values as a line of characters, of which the lowest and the highest are the range.

    With more values than characters, a character is the mean of several; what is not finite is a
    space.
    """
    width = math.ceil(len(values) / LONGEST_CURVE) if values else 1
    groups = [values[place : place + width] for place in range(0, len(values), width)]
    means = [_mean([v for v in group if v is not None and math.isfinite(v)]) for group in groups]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(" " if mean is None else BARS[round((mean - low) / step)] for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def print_wrapped(words: object) -> None:
    """Prints a sentence of the answer, wrapped at spaces to the terminal's width."""
    console().print(printable(words))


def matrix(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Writes numbers below each other in columns that are as wide as their longest cell.

    **Arguments:** `rows`, each a name and its cells; a column wants less room than that of a table.
    """
    lines = [["", *headings], *([name, *cells] for name, cells in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


class Work:
    """A display of work in progress, used in a `with` block; at its end nothing is left of it."""

    def __init__(self, total: float | None = None, unit: str = ""):
        """Makes a display that is shown once the block is entered.

        **Arguments:**

        * `total`: how much there is to do; if it is known, a bar and an estimate of the time that
          is left are shown.
        * `unit`: the word for what is counted; without one, per cent are shown.
        """
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        shown = console(stderr=True)
        # A description is words, and no markup; it gives way to the numbers.
        words = Column(no_wrap=True, overflow="ellipsis")
        columns: list[Any] = [
            TextColumn("{task.description}", markup=False, table_column=words),
            TimeElapsedColumn(),
        ]
        if total is not None:
            counted = [MofNCompleteColumn(), TextColumn(unit)] if unit else [TaskProgressColumn()]
            columns[1:1] = [BarColumn(bar_width=12), *counted]
            columns += [TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False)]
        self._shown: Progress = Progress(
            *columns,
            console=shown,
            # So that what follows a mistake is one sentence.
            transient=True,
            disable=not shown.is_terminal,
            # What is redirected to a file stays there.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._shown.add_task("compiling", total=total)
        self._live, self._total = shown.is_terminal, total
        self._downloads: dict[str, TaskID] = {}
        self._begun: tuple[float, float] | None = None
        self._last_line = -math.inf
        self._inside = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Shows the display, and the downloads inside the block."""
        from ..data import downloads_shown

        self._inside.enter_context(self._shown)
        self._inside.enter_context(downloads_shown(self.download))
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the display."""
        self._inside.close()

    @property
    def display(self) -> "Progress":
        """What rich shows."""
        return self._shown

    def at(
        self,
        words: object,
        completed: float | None = None,
        *,
        short: object = None,
        last: bool = False,
    ) -> None:
        """Says where the work is.

        **Arguments:**

        * `words`: the line that is printed where there is no terminal.
        * `short`: what the live line says beside its bar; by default the same.
        * `completed`: how much of the work is done.
        * `last`: whether the line ends a part of the work, and is printed in any case.
        """
        now = time.monotonic()
        if completed is not None and self._begun is None:
            # Work that goes on was not done in the time that is measured.
            self._begun = (now, completed)
        self._shown.update(
            self._task,
            description=printable(words if short is None else short),
            completed=completed,
        )
        if self._live or (now - self._last_line < PAUSE and not last):
            return
        self._last_line = now
        self.tell(f"{words}{self._left(now, completed)}")

    def move(self, words: object, completed: float) -> None:
        """Moves the live line alone; without a terminal nothing is said."""
        self._shown.update(self._task, description=printable(words), completed=completed)

    def _left(self, now: float, completed: float | None) -> str:
        """Returns the estimate of the time that is left, for a line."""
        if completed is None or self._begun is None or self._total is None:
            return ""
        began, already = self._begun
        done, open_ = completed - already, self._total - completed
        if done <= 0 or open_ <= 0:
            return ""
        seconds = round((now - began) / done * open_)
        return f"  {seconds // 60}:{seconds % 60:02} left" if seconds >= PAUSE else ""

    def tell(self, words: object) -> None:
        """Prints a line above the display."""
        # A line is not broken where there is no terminal to be too narrow for it.
        self._shown.console.print(printable(words, keep="\n"), soft_wrap=True)

    def download(self, name: str, there: int, total: int | None) -> None:
        """Shows how much of a file is there, in bytes."""
        size = f"{there / 1e6:.1f} MB"
        words = f"downloading {printable(name)}, {size}"
        words += "" if total is None else f" of {total / 1e6:.1f} MB"
        if not self._live:
            now = time.monotonic()
            if now - self._last_line >= PAUSE:
                self._last_line = now
                self.tell(words)
            return
        if name not in self._downloads:
            self._downloads[name] = self._shown.add_task(words, total=total)
        self._shown.update(self._downloads[name], description=words, completed=there)
        if there == total:
            self._shown.remove_task(self._downloads.pop(name))


@contextlib.contextmanager
def only_downloads() -> Iterator[None]:
    """Shows downloads where no other work is shown."""
    from ..data import downloads_shown

    with contextlib.ExitStack() as shown:
        works: list[Work] = []

        def show(name: str, there: int, total: int | None) -> None:
            if not works:
                works.append(shown.enter_context(Work()))
                works[0].display.update(works[0].display.task_ids[0], visible=False)
            works[0].download(name, there, total)
            if there == total:
                works.clear()
                shown.pop_all().close()

        with downloads_shown(show):
            yield


class Table:
    """A table whose cells are words, and which fits the terminal."""

    def __init__(
        self,
        *headings: str,
        title: str | None = None,
        numbers: bool = False,
        names: int = 1,
        kept: int | None = None,
    ):
        """Makes an empty table.

        **Arguments:**

        * `headings`: of the columns; none where a row says itself what it is.
        * `numbers`: whether all columns but the first `names` are flush with their right edge.
        * `kept`: number of columns, from the left, that are never left out; of those behind them
          the last ones are left out first. By default none is.
        """
        self._title = None if title is None else printable(title)
        self._headings = [printable(heading) for heading in headings]
        self._numbers, self._names = numbers, names
        self._kept = math.inf if kept is None else kept
        self._rows: list[list[str]] = []

    def add_row(self, *cells: object) -> None:
        """Adds a row of cells, each of one line or several."""
        self._rows.append([printable(cell, keep="\n") for cell in cells])

    def show(self) -> None:
        """Prints the table."""
        import rich.table

        shown = console()
        widths = self._widths(shown.width)
        table = rich.table.Table(title=self._title, show_header=bool(self._headings))
        for place, width in enumerate(widths):
            right = self._numbers and place >= self._names
            heading = _wrapped(self._headings[place], width) if self._headings else ""
            table.add_column(
                heading, justify="right" if right else "left", width=width, no_wrap=True
            )
        for row in self._rows:
            cells = zip(row, widths, strict=False)
            table.add_row(*(_wrapped(cell, width) for cell, width in cells))
        shown.print(table)
        left_out = self._headings[len(widths) :]
        if left_out:
            shown.print(f"Left out, for a wider terminal: {'; '.join(left_out)}.")

    def _widths(self, room: int) -> list[int]:
        """Chooses the widths of the columns that are shown."""
        rows = [self._headings, *self._rows] if self._headings else self._rows
        columns = [list(column) for column in zip(*rows, strict=True)]
        least = [self._least(place, column) for place, column in enumerate(columns)]
        most = [max(_longest_line(cell) for cell in column) for column in columns]
        while len(least) > self._kept and _all(least) > room:
            del least[-1], most[-1]
        # What is left over goes to the columns that would be wrapped, one character at a time.
        widths = list(least)
        while _all(widths) < room:
            wrapped = [place for place, width in enumerate(widths) if width < most[place]]
            if not wrapped:
                break
            widths[min(wrapped, key=lambda place: widths[place] / most[place])] += 1
        while _all(widths) > room and max(widths) > 1:
            widths[widths.index(max(widths))] -= 1
        return widths

    def _least(self, place: int, column: Sequence[str]) -> int:
        """Returns the width below which a column would cut a word, or break a number."""
        if self._numbers and place >= self._names:
            heading, *cells = column if self._headings else ["", *column]
            return max([*map(_longest_piece, heading.split()), *map(_longest_line, cells), 1])
        return max(_longest_piece(cell) for cell in column)


def _all(widths: Sequence[int]) -> int:
    return sum(widths) + BETWEEN * len(widths) + AROUND


def _longest_line(cell: str) -> int:
    return max((len(line) for line in cell.split("\n")), default=0)


def _longest_piece(cell: str) -> int:
    """Returns the length of the longest part that is not wrapped."""
    pieces = textwrap.wrap(cell, 1, break_long_words=False)
    return max(map(len, pieces), default=1)


def _wrapped(cell: str, width: int) -> str:
    """Wraps the lines of a cell at spaces and hyphens; longer words are cut."""
    lines = [textwrap.wrap(line, width) or [""] for line in cell.split("\n")]
    return "\n".join(part for line in lines for part in line)
