"""A script in the percent format, as cells.

A line `# %%` begins a cell of code, `# %% [markdown]` one of text, whose lines begin with `#`. The
first cell is text: a heading and what the example shows.
"""

import dataclasses
import hashlib
from pathlib import Path

MARK, TEXT = "# %%", "# %% [markdown]"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: whether it is text, the number of its first line in the file, and its source."""

    is_text: bool
    line: int
    source: str


@dataclasses.dataclass(frozen=True)
class Script:
    """A script: its name, its cells, and the checksum of its file."""

    name: str
    cells: tuple[Cell, ...]
    digest: str

    @property
    def title(self) -> str:
        """The heading of the first cell."""
        return self.cells[0].source.partition("\n")[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """The first paragraph below the heading, on one line."""
        return " ".join(self.cells[0].source.split("\n\n")[1].split())


def scripts(root: Path) -> list[Script]:
    """Reads all examples of a checkout, in the order of their titles.

    **Raises:** `ValueError` for a script that does not begin with a heading and a paragraph.
    """
    read = [read_script(path) for path in (root / "examples").glob("*.py")]
    return sorted(read, key=lambda script: script.title)


def read_script(path: Path) -> Script:
    """Reads a script.

    **Raises:** `ValueError` if it does not begin with a heading and a paragraph.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    ends = [*begins[1:], len(lines)]
    cells = tuple(_cell(lines[begin:end], begin) for begin, end in zip(begins, ends, strict=True))
    first = cells[0] if begins[:1] == [0] else None
    if first is None or not first.is_text or not first.source.startswith("# "):
        raise ValueError(
            f"{path} does not begin with a text, but a page needs a heading: begin with {TEXT} and "
            "# # HEADING."
        )
    if "\n\n" not in first.source:
        raise ValueError(
            f"{path} has a heading and no text below it, but the index shows one: write a "
            "paragraph after an empty line."
        )
    return Script(path.stem, cells, hashlib.sha256(text.encode()).hexdigest())


def _cell(lines: list[str], begin: int) -> Cell:
    is_text = lines[0].startswith(TEXT)
    body = [line.removeprefix("#").removeprefix(" ") for line in lines] if is_text else lines
    source = "\n".join(body[1:])
    stripped = source.lstrip("\n")
    # Tracebacks of a cell name lines of the file.
    line = begin + 2 + len(source) - len(stripped)
    return Cell(is_text, line, stripped.rstrip())
