"""The JSON files of a run folder, for those that train and for the report alike.

Where `config.json` carries a checksum all of them do; folders of older versions have none.
"""

from pathlib import Path
from typing import Any

from ._reading import FileError, read_text
from ._records import is_record, parse_record, read_record

CONFIG = "config.json"


def is_sealed_run(folder: Path) -> bool:
    """Returns whether the files of a run carry checksums.

    **Raises:** `FileError` where its configuration cannot be read.
    """
    return is_record(folder / CONFIG)


def read_of_run(folder: Path, name: str) -> Any:
    """Returns what a file with one record in a run folder says.

    **Raises:** as `read_record`.
    """
    required = name != CONFIG and is_sealed_run(folder)
    return read_record(folder / name, required=required)


def metrics_lines(folder: Path, *, whole: bool = False) -> list[str]:
    """Returns the lines of a run's `metrics.jsonl`, none where there is no such file.

    A last line without its end is one that was still being written and is left out; with `whole`,
    or where the run is finished, it is damage.

    **Raises:** `FileError` where the file cannot be read, or is damaged so.
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
    """Returns what a line of a run's `metrics.jsonl` says; `number` counts from 1.

    **Raises:** `FileError` where it is damaged.
    """
    source = f"Line {number} of {folder / 'metrics.jsonl'}"
    return parse_record(line, source, required=required)
