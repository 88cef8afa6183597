"""What a run leaves behind.

A run is a folder: `config.json`, `metrics.jsonl`, `checkpoints/`, `summary.json`. Each file is
written beside its place and moved there whole; `metrics.jsonl` grows by whole lines. A process that
was killed leaves at most one file beside its place, which `tidy` removes. JSON carries its checksum
(`leastcontrol.files`), and weights are sealed together with the identity of their run.

A folder is opened once, and everything is written into the folder that was opened, even if it has
been moved since; its name is not looked up again. A run whose folder is no longer in its place ends
with a sentence that says so, and whatever is in that place instead stays as it is.
"""

import contextlib
import fcntl
import json
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from ..files import is_sealed_run, read_bytes, sealed_line, strict, with_checksum
from ._sealed import FolderError, PrecisionError, arrays_of, parse_sealed, sealed

WEIGHTS = "file of weights"
_SEALED = re.compile(rb"[0-9a-f]{64}\n")


# What a process that is killed while it writes leaves beside the file's place.
_TEMPORARY = re.compile(r"\.[\w-]+\.(json|jsonl|eqx|csv|png|toml|npz)\.\d+")


class RunFolder:
    """A folder that one run writes."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """Opens the folder of a new run.

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
        """Opens a folder that may hold a run already, and makes it if it is missing.

        **Raises:** `FolderError` if the folder cannot be read or written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            next(path.iterdir(), None)
        except (OSError, ValueError) as error:
            raise FolderError(
                f"The run folder {path} cannot be made or read "
                f"({getattr(error, 'strerror', None) or error}): name another with --out DIR."
            ) from error
        if not os.access(path, os.W_OK):
            raise FolderError(
                f"The run folder {path} is not writable: name another with --out DIR."
            )
        folder = RunFolder(path)
        folder._open()
        return folder

    @staticmethod
    @contextlib.contextmanager
    def held(path: Path, *, resume: bool, wait: bool = False) -> Iterator["RunFolder"]:
        """Opens a run's folder, and keeps other processes from writing it at the same time.

        The folder is new; with `resume` it may also be that of an interrupted run. However the
        process ends, its hold on the folder ends with it. With `wait` it waits while another
        process holds the folder.

        **Raises:** `FolderError` for the reasons of `create`, and without `wait` if another process
        holds the folder.
        """
        folder = RunFolder.reopen(path) if resume else RunFolder.create(path)
        # A separate descriptor for the lock: one process may open the folder more than once.
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

    def _open(self) -> int:
        """Opens the folder once, and gives the same descriptor ever after."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def check_place(self) -> None:
        """Raises `FolderError` if the folder that is written is no longer the one at its path."""
        ours = os.fstat(self._open())
        try:
            theirs = os.stat(self.path)
        except OSError:
            theirs = None
        if theirs is None or (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
            raise FolderError(
                f"The run folder {self.path} was moved, removed or replaced while its run wrote "
                "it: the run ends here, and goes on by --resume where its folder is now."
            )

    def write(self, name: str, content: bytes | str) -> None:
        """Writes a file of the folder whole or not at all, in `checkpoints/` too.

        **Raises:** `FolderError` if it cannot be written, or the folder was moved.
        """
        self.check_place()
        content = content.encode() if isinstance(content, str) else content
        parent, _, base = name.rpartition("/")
        temporary = f".{base}.{os.getpid()}"
        try:
            with self._inside(parent) as folder:
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                    file = os.open(temporary, flags, 0o666, dir_fd=folder)
                    with open(file, "wb") as stream:
                        stream.write(content)
                    os.replace(temporary, base, src_dir_fd=folder, dst_dir_fd=folder)
                finally:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
        except OSError as error:
            raise FolderError(
                f"{self.path / name} could not be written: {error.strerror or error}."
            ) from error
        self.check_place()

    @contextlib.contextmanager
    def _inside(self, parent: str) -> Iterator[int]:
        """Opens a folder inside this one, which is made if it is missing."""
        if not parent:
            yield self._open()
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, dir_fd=self._open())
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._open())
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write_record(self, name: str, value: dict[str, Any]) -> None:
        """Writes a JSON object with its checksum; a number that is not finite becomes `null`."""
        text = json.dumps(with_checksum(value), indent=2, allow_nan=False)
        self.write(name, text + "\n")

    def is_empty(self) -> bool:
        """Tells whether nothing has been finished yet."""
        return all(_TEMPORARY.fullmatch(file.name) for file in self.path.iterdir())

    def tidy(self) -> None:
        """Removes files that a killed process left unfinished."""
        self.check_place()
        for file in (*self.path.glob(".*"), *self.path.glob("checkpoints/.*")):
            if _TEMPORARY.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def write_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        """Writes `metrics.jsonl` anew, with a line for each row."""
        self.write("metrics.jsonl", "".join(map(sealed_line, rows)))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Adds one line to `metrics.jsonl`; a number that is not finite becomes `null`."""
        self.check_place()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            file = os.open("metrics.jsonl", flags, 0o666, dir_fd=self._open())
            with open(file, "ab") as stream:
                stream.write(sealed_line(row).encode())
        except OSError as error:
            raise FolderError(
                f"{self.path / 'metrics.jsonl'} could not be written: {error.strerror}."
            ) from error

    def remove(self, name: str) -> None:
        """Removes a file of the folder, if it is there."""
        self.check_place()
        parent, _, base = name.rpartition("/")
        with self._inside(parent) as folder, contextlib.suppress(FileNotFoundError):
            os.unlink(base, dir_fd=folder)

    def save_weights(self, name: str, weights: PyTree[Any], run: dict[str, Any]) -> None:
        """Writes the arrays of a pytree, a system with its feedback, as `checkpoints/NAME.eqx`.

        **Arguments:** `run`, what distinguishes the run from others, in JSON's types.
        """
        self.write(f"checkpoints/{name}.eqx", sealed(WEIGHTS, {"run": strict(run)}, weights))

    def load_weights(self, name: str, like: PyTree[Any], run: dict[str, Any]) -> PyTree[Any]:
        """Reads the arrays of `checkpoints/NAME.eqx` into a pytree like another.

        Weights that are not sealed, which older versions wrote, are read from a folder whose
        configuration has no checksum either.

        **Arguments:** `run`, what distinguishes the run from others, in JSON's types.

        **Raises:** `FolderError` if the file is missing, damaged or of another run.
        """
        path = self.path / "checkpoints" / f"{name}.eqx"
        try:
            content = read_bytes(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FolderError(
                f"{path} does not exist: give the folder of a run that was finished, or one of "
                "its seeds."
            ) from error
        try:
            if not _SEALED.match(content) and not is_sealed_run(self.path):
                return arrays_of(content, like)
            file = parse_sealed(path, content, WEIGHTS)
            if file.header.get("run") != strict(run):
                raise ValueError("its run has another configuration")
            return file.arrays(like)
        except PrecisionError:
            raise
        except Exception as error:
            raise FolderError(
                f"{path} does not hold the weights of the run that config.json describes: it is "
                "damaged, or of another run, or config.json was changed. Train again, or give "
                "another folder."
            ) from error
