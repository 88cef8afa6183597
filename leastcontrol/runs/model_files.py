"""A model as one file in the format of safetensors, with a checksum over all that it says.

The header, a JSON object, is an entry of the file's metadata; beside it stands the SHA-256 of the
header and of all arrays with their names, types and shapes, because the format has no checksum.
An array is named by its place in the system, such as `layers.0.weight`. Models that were exported
before are sealed files (`training.read_sealed`) and are read as before. Reading runs no code.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import files, training
from .options import ConfigError

KIND = "model"
# Names of the metadata.
HEADER, CHECKSUM = "leastcontrol", "sha256"
# A sealed file begins with its checksum, a file of safetensors with the length of its header.
_SEALED = re.compile(rb"[0-9a-f]{64}\n")

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """What the file of a model holds.

    * `header`: what it says of itself.
    * `arrays`: puts its arrays into a pytree like another; raises `training.FolderError` where
      their names, shapes or types are others.
    """

    header: dict[str, Any]
    arrays: Callable[[PyTree[Any]], PyTree[Any]]


def write_model(path: Path, header: dict[str, Any], system: PyTree[Any]) -> None:
    """Writes a header and the arrays of a system to a file, whole or not at all.

    **Raises:** `ConfigError` without safetensors.
    """
    save = _library().save
    arrays = {name: np.asarray(array) for name, array in _named(system).items()}
    words = json.dumps({"precision": training.precision(), **header})
    metadata = {HEADER: words, CHECKSUM: _checksum(words, arrays)}
    files.write_whole(path, save(arrays, metadata=metadata))


def read_model(path: Path) -> ModelFile:
    """Reads what the file of a model holds.

    **Raises:** `files.FileError` if it cannot be read, `training.FolderError` if it is damaged or
    no model, `ConfigError` without safetensors.
    """
    try:
        content = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise training.FolderError(f"{path} cannot be read: {error.strerror}.") from error
    if _SEALED.match(content):
        sealed = training.read_sealed(path, KIND)
        return ModelFile(sealed.header, sealed.arrays)
    library = _library()
    try:
        arrays = library.load(content)
        words, checksum = _metadata(content, path)
        header = dict(files.parse_json(words, path))
    # Its errors are of many kinds, by what is damaged.
    except Exception as error:
        raise training.FolderError(
            f"{path} is no model of leastcontrol, or is damaged: it cannot be read as a file of "
            "safetensors with a header; export the model again."
        ) from error
    if _checksum(words, arrays) != checksum:
        raise training.FolderError(
            f"{path} is no model of leastcontrol, or is damaged: its checksum does not fit its "
            "content; export the model again."
        )

    def put(like: PyTree[Any]) -> PyTree[Any]:
        return _put(path, header, arrays, like)

    return ModelFile(header, put)


def _library() -> Any:
    try:
        # Imported here because few commands need it.
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Models are files of safetensors, which is not installed ({error}): run pip install "
            "'leastcontrol[train]'."
        ) from error
    return safetensors.numpy


def _metadata(content: bytes, path: Path) -> tuple[str, str]:
    """Returns the header and the checksum in the metadata of a file that safetensors has read."""
    length = int.from_bytes(content[:8], "little")
    metadata = files.parse_json(content[8 : 8 + length], path)["__metadata__"]
    return metadata[HEADER], metadata[CHECKSUM]


def _named(tree: PyTree[Any]) -> dict[str, Any]:
    """Returns the arrays of a pytree, or their shapes, by their places."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, _is_array))
    return {_name(place): leaf for place, leaf in leaves}


def _name(place: Any) -> str:
    return jax.tree_util.keystr(place, simple=True, separator=".")


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _checksum(words: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(words.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _put(path: Path, header: dict[str, Any], arrays: Arrays, like: PyTree[Any]) -> PyTree[Any]:
    training.check_precision(path, header)
    expected = _named(like)
    fits = set(expected) == set(arrays) and all(
        arrays[name].shape == leaf.shape and arrays[name].dtype == leaf.dtype
        for name, leaf in expected.items()
    )
    if not fits:
        raise training.FolderError(
            f"{path} holds arrays of other shapes than its configuration asks for: it is of "
            "another version of the library, or was changed."
        )

    def of(place: Any, leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(place)]) if _is_array(leaf) else leaf

    return jax.tree_util.tree_map_with_path(of, like)
