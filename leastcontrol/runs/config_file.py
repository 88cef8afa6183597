"""Training options in TOML files: what `train --config` reads, and `sweep` reads and writes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files
from .config import RunConfig
from .configuration import read_options as options_in
from .options import ConfigError, check_choice, plain


def read_tables(path: Path, known: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Returns the tables of a TOML file by name; options are spelled with underscores in them.

    **Raises:** `ConfigError` for a file that is none, or that has anything but the known tables.
    """
    try:
        tables = files.parse_toml(files.read_text(path, 2**20), path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): give a TOML file with a [train] table."
        ) from error
    except files.FileError as error:
        raise ConfigError(str(error)) from error
    for name, table in tables.items():
        check_choice(f"A table of {path}", name, known)
        if not isinstance(table, dict):
            raise ConfigError(
                f"{path} has {name} = {table!r}, but {name} is a table of options: write [{name}]."
            )
    return {name: _with_underscores(table, f"[{name}] of {path}") for name, table in tables.items()}


def _with_underscores(table: dict[str, Any], source: str) -> dict[str, Any]:
    spelled = {name.replace("-", "_"): value for name, value in table.items()}
    if len(spelled) < len(table):
        raise ConfigError(f"{source} has an option twice, with - and with _: write it once.")
    return spelled


def read_options(path: Path) -> dict[str, Any]:
    """Returns the options in the [train] table of a file, each of its kind.

    **Raises:** `ConfigError` for a file, or options, that are none.
    """
    tables = read_tables(path, ("train",))
    if "train" not in tables:
        raise ConfigError(f"{path} has no options: write them in a table [train].")
    return options_in(RunConfig, tables["train"], f"[train] of {path}")


def as_toml(options: Mapping[str, Any], comment: str) -> str:
    """Returns a [train] table that `read_options` reads."""
    # TOML has JSON's strings, numbers, booleans and lists; none is an option that is left out.
    lines = [
        f"{name} = {json.dumps(plain(value))}"
        for name, value in options.items()
        if value is not None
    ]
    return "\n".join([f"# {comment}", "", "[train]", *lines, ""])
