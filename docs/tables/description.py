"""What a table is, and the Markdown that its files make.

A `Table` is data: the place where it stands, its `File`s, and its `Column`s, each with the paths of
its figures inside a row and the form that they are shown in. What a form cannot show is refused, so
that the columns are also what a file has to hold. `rows` takes the rows out of one file; `arrange`
does the arithmetic between rows of several, which it gives back as rows with further entries.
"""

import contextlib
import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leastcontrol.runs.old_words import renewed_command

# Cells of missing figures, with the spaces around their text.
DASH = " – "
EMPTY = "  "

SPREAD = "{:.2f} ± {:.2f}".format
SPREAD_OF_3 = "{:.3f} ± {:.3f}".format


class TablesError(Exception):
    """A file or a page cannot be used; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The entries of a row by their paths, such as `row["mean.test_accuracy"]`.

    **Arguments:** the `file` that they are from, the command that is its `writer`, and the entries.
    """

    file: Path
    writer: str
    entries: Any

    def get(self, path: str) -> Any:
        """Returns the entry at a path, or `None` if it is missing."""
        value = self.entries
        try:
            for name in path.split("."):
                value = value[int(name)] if isinstance(value, list | tuple) else value[name]
        except (LookupError, TypeError, ValueError):
            return None
        return value

    def __getitem__(self, path: str) -> Any:
        value = self.get(path)
        if value is None:
            raise self.refusal(f"has no {path}")
        return value

    def plus(self, **entries: Any) -> "Row":
        """Returns the row with further entries."""
        return dataclasses.replace(self, entries={**self.entries, **entries})

    def refusal(self, fault: str) -> TablesError:
        """Returns the error of a file with a fault."""
        return TablesError(f"{self.file} {fault}: give a file that `{self.writer}` wrote.")


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    **Arguments:**

    * `heading`: of the column.
    * `paths`: of the figures in a row, separated by spaces.
    * `form`: makes the text of a cell of these figures, or raises for figures of another type.
    * `scale`: what the figures are multiplied by.
    * `absent`: the cell, with its spaces, where a figure is missing; without it that is refused.
    * `left`: whether cells are aligned to the left, as words are.
    """

    heading: str
    paths: str
    form: Callable[..., str] = "{:s}".format
    scale: float | None = None
    absent: str | None = None
    left: bool = False

    def cell(self, row: Row) -> str:
        """Returns the cell of a row.

        **Raises:** `TablesError` for a figure that is missing or of another type.
        """
        look_up = row.__getitem__ if self.absent is None else row.get
        figures = [look_up(path) for path in self.paths.split()]
        if self.absent is not None and None in figures:
            return self.absent
        try:
            if any(
                isinstance(figure, bool) or figure in (math.inf, -math.inf) for figure in figures
            ):
                raise ValueError("not a finite number")
            scaled = figures if self.scale is None else [self.scale * figure for figure in figures]
            return f" {self.form(*scaled)} "
        except (TypeError, ValueError) as error:
            shown = f"{self.paths} = {', '.join(map(repr, figures))}"
            raise row.refusal(f"has {shown}, but {self.heading!r} cannot show that") from error


def words(heading: str, paths: str, form: Callable[..., str] = "{:s}".format) -> Column:
    """Returns a column of words."""
    return Column(heading, paths, form, left=True)


ACCURACY = Column("test accuracy, %", "mean.test_accuracy std.test_accuracy", SPREAD, 100)


@dataclasses.dataclass(frozen=True)
class File:
    """A file of `results/`.

    **Arguments:**

    * `name`: of the file.
    * `holds`: the entries, by their paths, of the run that the name promises.
    * `adds`: further entries for its rows.
    """

    name: str
    holds: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    adds: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def under(name: str) -> Callable[[Any], list[Any]]:
    """Returns what takes the rows of a list inside a file, each with the entries of the file."""
    return lambda document: [{**document, **row} for row in document[name]]


def named(entry: str, heading: str) -> Callable[[Any], list[Any]]:
    """Returns what takes the rows of a table by name inside a file; a row has its name too."""
    return lambda document: [
        {**document, **row, heading: name} for name, row in document[entry].items()
    ]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table between two markers of a page; tables of the same markers stand below each other.

    **Arguments:**

    * `page`, `marker`: where it stands.
    * `writer`: the command that writes its files.
    * `files`: what it is made of; those that do not exist have no rows.
    * `columns`: from left to right.
    * `rows`: takes the rows out of a file, which is one itself unless it is said here.
    * `arrange`: returns the rows of the table for those of all files.
    * `above`, `below`: return a sentence for the first row.
    * `commands`: whether the rows' commands are printed below.
    """

    page: str
    marker: str
    writer: str
    files: Sequence[File]
    columns: Sequence[Column]
    rows: Callable[[Any], Iterable[Any]] = lambda document: [document]
    arrange: Callable[[list[Row]], Iterable[Row]] = list
    above: Callable[[Row], str] | None = None
    below: Callable[[Row], str] | None = None
    commands: bool = True

    def markdown(self, results: Path) -> str:
        """Returns the table of the files in a folder, or nothing if there is none of them.

        **Raises:** `TablesError` for a file that is damaged, or of another run or kind.
        """
        present = [file for file in self.files if (results / file.name).exists()]
        read = [row for file in present for row in self._read(results / file.name, file)]
        if not present:
            return ""
        with self._refusing(", ".join(str(results / file.name) for file in present)):
            return "\n\n".join(self._blocks(list(self.arrange(read))))

    def _blocks(self, rows: list[Row]) -> Iterator[str]:
        if self.above is not None:
            yield self.above(rows[0])
        heads = [f" {column.heading} " for column in self.columns]
        rule = ["---" if column.left else "---:" for column in self.columns]
        cells = [[column.cell(row) for column in self.columns] for row in rows]
        yield "\n".join(f"|{'|'.join(line)}|" for line in (heads, rule, *cells))
        if self.below is not None:
            yield self.below(rows[0])
        if self.commands:
            # As they are written today, which is not always how they were when they ran.
            commands = "\n".join(dict.fromkeys(renewed_command(row["command"]) for row in rows))
            yield f"```bash\n{commands}\n```"

    def _read(self, path: Path, file: File) -> list[Row]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        except (OSError, ValueError) as error:
            raise TablesError(
                f"{path} cannot be read as JSON ({error}): write it again with `{self.writer}`."
            ) from error
        run = Row(path, self.writer, document)
        for name, value in file.holds.items():
            if run[name] != value:
                raise TablesError(
                    f"{path} is of a run with {name} = {run[name]!r}, but its name stands for "
                    f"{value!r}: name the file after its run."
                )
        with self._refusing(str(path)):
            rows = [Row(path, self.writer, {**row, **file.adds}) for row in self.rows(document)]
        if not rows:
            raise run.refusal("holds no rows")
        return rows

    @contextlib.contextmanager
    def _refusing(self, files: str) -> Iterator[None]:
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TablesError(
                f"The table {self.marker} of {self.page} cannot be made of {files} "
                f"({type(error).__name__}: {error}): give what `{self.writer}` wrote."
            ) from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a finite number")


def share(part: float) -> str:
    """Returns a share in %; one that is not whole never reads 100."""
    text = f"{100 * part:.2f}"
    return f"{math.floor(1e4 * part) / 100:.2f}" if text == "100.00" and part < 1 else text


def spread(rows: Sequence[Row], name: str, scale: float = 100, digits: int = 2) -> str:
    """Returns the mean of an entry over rows, with its standard deviation if there are several."""
    values = [scale * row[name] for row in rows]
    text = f"{statistics.fmean(values):.{digits}f}"
    return f"{text} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else text


def lead(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Returns the mean of first − second, pair by pair, with the standard error of that mean."""
    leads = [one - other for one, other in zip(first, second, strict=True)]
    return statistics.fmean(leads), statistics.stdev(leads) / math.sqrt(len(leads))


def check_alike(rows: Sequence[Row], of: Callable[[Row], Mapping[str, Any]]) -> None:
    """Raises `TablesError` unless what is taken of the rows is the same for all of them."""
    for row in rows:
        first, other = of(rows[0]), of(row)
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise TablesError(
                    f"{rows[0].file} and {row.file} have {name} = {first.get(name)} and "
                    f"{other.get(name)}, but they are compared pair by pair: run both with the "
                    "same options."
                )
