"""What a run leaves behind.

A run is a folder: `config.json`, `metrics.jsonl`, `checkpoints/`, `summary.json`. Each file is
written beside its place and moved there whole; `metrics.jsonl` grows by whole lines. Weights are
arrays in Equinox's leaf format, read without running code.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
from jaxtyping import PyTree


class FolderError(ValueError):
    """A run folder cannot be made, written or read; the message says what to do."""


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; a number that is not finite becomes `null`."""
    text = json.dumps(_strict(value), indent=2, allow_nan=False) + "\n"
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _strict(value: Any) -> Any:
    # JSON has no NaN, and one sample that overflows must not cost the file.
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise FolderError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


class RunFolder:
    """A folder that one run writes."""

    def __init__(self, path: Path):
        self.path = path

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """Returns a new run's folder.

        **Raises:** `FolderError` if the folder holds something already or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            occupied = any(path.iterdir())
        except OSError as error:
            raise FolderError(
                f"The run folder {path} cannot be made or read ({error.strerror}): name another "
                "with --out DIR."
            ) from error
        if occupied:
            raise FolderError(
                f"The run folder {path} holds files already, and a run never overwrites another: "
                "name a new one with --out DIR, or remove it."
            )
        if not os.access(path, os.W_OK):
            raise FolderError(
                f"The run folder {path} is not writable: name another with --out DIR."
            )
        return RunFolder(path)

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
        folder = self.path / "checkpoints"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FolderError(f"{folder} could not be made: {error.strerror}.") from error

        def serialise(temporary: Path) -> None:
            with temporary.open("wb") as file:
                eqx.tree_serialise_leaves(file, weights)

        _write(folder / f"{name}.eqx", serialise)

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
