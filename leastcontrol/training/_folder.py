"""What a run leaves behind.

A run is a folder: `config.json`, `metrics.jsonl`, `checkpoints/`, `summary.json`. Each file is
written beside its place and moved there whole; `metrics.jsonl` grows by whole lines. Weights are
arrays in Equinox's leaf format, read without running code. A process that was killed leaves at most
a file beside its place, which `tidy` removes.
"""

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
from jaxtyping import PyTree


class FolderError(ValueError):
    """A run folder cannot be made, written or read; the message says what to do."""


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; a number that is not finite becomes `null`."""
    text = json.dumps(_strict(value), indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows with the names of the first as their heading, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8"))


def _strict(value: Any) -> Any:
    # JSON has no NaN, and one sample that overflows must not cost the file.
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a file beside a path, and moves that there; the old one stays till then.

    What is no file, such as `/dev/stdout`, is written itself: moving a file there would replace it.
    """
    is_device = _is_device(path)
    temporary = path if is_device else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        if not is_device:
            os.replace(temporary, path)
    except OSError as error:
        raise FolderError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        if not is_device:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        # A name that is too long is said to be so when it is written.
        return False


# What `write_whole` leaves where its process is killed.
_TEMPORARY = re.compile(r"\.[\w-]+\.(json|jsonl|eqx)\.\d+")


class RunFolder:
    """A folder that one run writes."""

    def __init__(self, path: Path):
        self.path = path

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """Returns a new run's folder.

        **Raises:** `FolderError` if the folder holds something already or cannot be written.
        """
        folder = RunFolder.reopen(path)
        if not folder.is_empty():
            raise FolderError(
                f"The run folder {path} holds files already, and a run never overwrites another: "
                "name a new one with --out DIR, remove it, or go on with its run by --resume."
            )
        return folder

    @staticmethod
    def reopen(path: Path) -> "RunFolder":
        """Returns a folder that may hold a run already, and is made if it is missing.

        **Raises:** `FolderError` if the folder cannot be read or written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            next(path.iterdir(), None)
        except OSError as error:
            raise FolderError(
                f"The run folder {path} cannot be made or read ({error.strerror}): name another "
                "with --out DIR."
            ) from error
        if not os.access(path, os.W_OK):
            raise FolderError(
                f"The run folder {path} is not writable: name another with --out DIR."
            )
        return RunFolder(path)

    @staticmethod
    @contextlib.contextmanager
    def held(path: Path, *, resume: bool, wait: bool = False) -> Iterator["RunFolder"]:
        """Opens a run's folder, and keeps other processes from writing it at the same time.

        The folder is new, or with `resume` may be that of an interrupted run. However the process
        ends, its hold ends with it. With `wait` a process that finds the folder held waits for its
        turn.

        **Raises:** `FolderError` as `create`, and if another process holds the folder.
        """
        folder = RunFolder.reopen(path) if resume else RunFolder.create(path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise FolderError(
                    f"The run folder {path} is being written by another process: wait until that "
                    "has ended, or name another with --out DIR."
                ) from error
            except OSError:
                # Some network file systems have no locks; a run is not refused for that.
                pass
            yield folder
        finally:
            os.close(descriptor)

    def is_empty(self) -> bool:
        """Returns whether nothing has been finished yet."""
        return all(_TEMPORARY.fullmatch(file.name) for file in self.path.iterdir())

    def tidy(self) -> None:
        """Removes the files that a process that was killed has not finished."""
        for file in (*self.path.glob(".*"), *self.path.glob("checkpoints/.*")):
            if _TEMPORARY.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def write_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        """Writes `metrics.jsonl` anew, with a line for each row."""
        text = "".join(json.dumps(_strict(row), allow_nan=False) + "\n" for row in rows)
        path = self.path / "metrics.jsonl"
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Adds one line to `metrics.jsonl`; a number that is not finite becomes `null`."""
        try:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(_strict(row), allow_nan=False) + "\n")
        except OSError as error:
            raise FolderError(
                f"{self.path / 'metrics.jsonl'} could not be written: {error.strerror}."
            ) from error

    def save_weights(self, name: str, weights: PyTree[Any]) -> None:
        """Writes the arrays of a pytree, a system with its feedback, as `checkpoints/NAME.eqx`."""

        def serialise(temporary: Path) -> None:
            with temporary.open("wb") as file:
                eqx.tree_serialise_leaves(file, weights)

        write_whole(self.checkpoint_path(name), serialise)

    def checkpoint_path(self, name: str) -> Path:
        """Returns where `checkpoints/NAME.eqx` is written, in a folder that exists."""
        folder = self.path / "checkpoints"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FolderError(f"{folder} could not be made: {error.strerror}.") from error
        return folder / f"{name}.eqx"

    def load_weights(self, name: str, like: PyTree[Any]) -> PyTree[Any]:
        """Returns a pytree like another with the arrays of `checkpoints/NAME.eqx`.

        **Raises:** `FolderError` if the file is missing, damaged or of another system.
        """
        path = self.path / "checkpoints" / f"{name}.eqx"
        if not path.is_file():
            raise FolderError(
                f"{path} does not exist: give the folder of a run that was finished, or one of "
                "its seeds."
            )
        try:
            with path.open("rb") as file:
                weights = eqx.tree_deserialise_leaves(file, like)
                if file.read(1):
                    raise ValueError("there is more in the file than this system's weights")
                return weights
        except Exception as error:
            raise FolderError(
                f"{path} does not hold the weights of the system that config.json describes: it is "
                "damaged, or of another run. Train again, or give another folder."
            ) from error
