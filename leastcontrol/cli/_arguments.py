"""Parsing with tyro, and checking everything that can be checked before JAX is imported."""

import dataclasses
from typing import Any

import tyro

from ..experiments.config import ConfigError
from ._options import Train, Verb


def parse(arguments: list[str]) -> Any:
    """Returns the options of the verb that was given.

    tyro ends the process itself for `--help` and, with status 2, for an unknown or missing option.

    **Raises:** `ConfigError` for a value that cannot be run.
    """
    verb = tyro.cli(
        Verb,  # pyright: ignore[reportArgumentType]
        prog="leastcontrol",
        description="Train systems that settle by the least control they need.",
        args=arguments,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes),
    )
    if isinstance(verb, Train):
        verb.check()
        if verb.out is None:
            raise ConfigError("train writes a run folder: name a new one with --out DIR.")
    return verb


def run_config(verb: Train) -> dict[str, Any]:
    """Returns the fields of a training's options that make its configuration."""
    own = {"out", "results"}
    return {
        field.name: getattr(verb, field.name)
        for field in dataclasses.fields(verb)
        if field.name not in own
    }
