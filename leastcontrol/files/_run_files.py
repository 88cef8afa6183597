"""The JSON files of a run folder, for training and reports.

If `config.json` has a checksum, all files of the folder have one; folders of older versions have
none.
"""

from pathlib import Path
from typing import Any

from ._reading import FileError, read_text
from ._records import is_record, parse_record, read_record

CONFIG = "config.json"


def is_sealed_run(folder: Path) -> bool:
    """Returns whether the files of a run have checksums.

    **Raises:** `FileError` if the configuration cannot be read.
    """
    return is_record(folder / CONFIG)


def read_of_run(folder: Path, name: str) -> Any:
    """Reads a file of a run folder that holds one record.

    **Raises:** as `read_record`.
    """
    required = name != CONFIG and is_sealed_run(folder)
    return read_record(folder / name, required=required)


def metrics_lines(folder: Path, *, whole: bool = False) -> list[str]:
    """Reads the lines of a run's `metrics.jsonl`; returns none if there is no such file.

    Drops an incomplete last line, which was still being written. With `whole`, or in a finished
    run, such a line is an error.

    **Raises:** `FileError` if the file cannot be read, or ends within a line.
    """
    path = folder / "metrics.jsonl"
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    whole = whole or (folder / "summary.json").exists()
    if whole and not text.endswith("\n"):
        raise FileError(f"{path} ends within a line: it is damaged.")
    return text.split("\n")[:-1]


def parse_metrics(folder: Path, number: int, line: str, *, required: bool) -> Any:
    """Parses a line of a run's `metrics.jsonl`; `number` counts from 1.

    **Raises:** `FileError` if the line is damaged.
    """
    source = f"Line {number} of {folder / 'metrics.jsonl'}"
    return parse_record(line, source, required=required)
