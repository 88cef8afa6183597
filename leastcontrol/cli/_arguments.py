"""Parsing with tyro, and checking everything that can be checked before JAX is imported."""

import contextlib
import dataclasses
import io
import math
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro

from .._names import hide_password
from ..papers import registry
from ..runs.config import CHOICES, ConfigError, RunConfig, check_choice, flag
from ..runs.config_file import read_options
from ..runs.meta_config import META_CHOICES, MetaConfig
from ..runs.represent_config import RepresentConfig
from ..runs.sweep_config import read_sweep
from ._console import tell
from ._options import (
    Bench,
    Compare,
    Data,
    Export,
    Meta,
    Predict,
    Report,
    Represent,
    Reproduce,
    Sweep,
    Train,
    Verb,
)

VERBS = (
    "train",
    "meta",
    "represent",
    "evaluate",
    "compare",
    "sweep",
    "reproduce",
    "export",
    "predict",
    "report",
    "verify",
    "bench",
    "data",
)
# What tyro colours its words with.
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
PLOT_SUFFIXES = (".pdf", ".png", ".svg")


def parse(arguments: list[str]) -> Any:
    """Returns the options of the verb that was given.

    tyro ends the process itself for `--help` and, with status 2, for an unknown or missing option.

    **Raises:** `ConfigError` for a value that cannot be run.
    """
    if arguments and not arguments[0].startswith("-"):
        check_choice("The verb", arguments[0], VERBS)
    verb = _parsed(
        Verb,
        "leastcontrol",
        arguments,
        description="Train systems that settle by the least control they need. "
        "leastcontrol --version tells the version.",
    )
    if isinstance(verb, Train) and verb.config is not None:
        # Once more, with the file's options in place of the defaults.
        default = Train(**read_options(verb.config))
        verb = _parsed(Train, "leastcontrol train", arguments[1:], default=default)
    if isinstance(verb, Train) and verb.data in META_CHOICES["tasks"]:
        raise ConfigError(
            f"--data is {verb.data!r}, which are tasks to be learned fast and no data set: write "
            f"leastcontrol meta --tasks {verb.data}."
        )
    if isinstance(verb, Train | Meta | Represent):
        verb.check()
        if verb.out is None:
            name = type(verb).__name__.lower()
            raise ConfigError(f"{name} writes a run folder: name a new one with --out DIR.")
        if not isinstance(verb, Represent) and verb.keep_last < 1:
            raise ConfigError(
                f"--keep-last is {verb.keep_last}, but it must be at least 1: write --keep-last 2."
            )
        if isinstance(verb, Train):
            _check_processes(verb)
            if verb.tensorboard:
                _require("--tensorboard", "tensorboard", "tensorboardX")
        if isinstance(verb, Represent):
            _require("represent", "train", "matplotlib", "PIL")
    if isinstance(verb, Report):
        if not verb.folders:
            raise ConfigError("report has no folders: write report DIR.")
        _require("report", "plot", "matplotlib")
    if isinstance(verb, Bench):
        verb.check()
        _check_plot(verb)
    if isinstance(verb, Data):
        check_choice("The data set", verb.name, CHOICES["data"])
        data_config(verb).check()
    if isinstance(verb, Compare):
        if verb.out is None:
            raise ConfigError("compare writes a folder: name a new one with --out DIR.")
        if not verb.rules:
            raise ConfigError("compare has no rules: write --rules backpropagation least-control.")
        if verb.rule != RunConfig.rule:
            raise ConfigError(
                f"--rule is {verb.rule}, but compare takes several: write --rules {verb.rule}."
            )
        if verb.systems and verb.system != RunConfig.system:
            raise ConfigError(
                f"--system is {verb.system}, and --systems is given too: write it there."
            )
        if verb.target is not None and verb.regression and not 0 < verb.target < math.inf:
            raise ConfigError(
                f"--target is {verb.target}, but it is a mean squared error, above 0 and finite: "
                "write --target 0.1."
            )
        if verb.target is not None and not verb.regression and not 0 < verb.target <= 1:
            raise ConfigError(
                f"--target is {verb.target}, but it is a share above 0 and at most 1: write "
                "--target 0.95."
            )
        for arm in arms(verb):
            arm[2].check()
    if isinstance(verb, Sweep):
        read_sweep(verb.config)
        if verb.out is None:
            raise ConfigError("sweep writes a folder: name one with --out DIR.")
        if verb.trials < 1:
            raise ConfigError(
                f"--trials is {verb.trials}, but it must be at least 1: write --trials 20."
            )
        _require("sweep", "sweep", "optuna", "sqlalchemy")
    if isinstance(verb, Reproduce):
        _check_names(verb)
    if isinstance(verb, Export):
        check_choice("--weights", verb.weights, ("last", "best"))
        _check_file("out", verb.out)
    if isinstance(verb, Predict):
        if not verb.samples:
            raise ConfigError("predict has no samples: write predict MODEL FILE.")
        if verb.full is not None and not 0 < verb.full < math.inf:
            raise ConfigError(
                f"--full is {verb.full}, but it must be above 0 and finite: write --full 255."
            )
    for name in ("csv", "json", "plot", "results"):
        _check_file(name, getattr(verb, name, None))
    return verb


def _parsed(kind: Any, prog: str, arguments: list[str], **given: Any) -> Any:
    """Returns what tyro makes of arguments; what it says of a mistake is shown like all words."""
    said = io.StringIO()
    words = _without_passwords(arguments)
    parsed = None
    try:
        with contextlib.redirect_stderr(said):
            # A mistake is told of the words that may be shown.
            for own in (words, arguments) if words != arguments else (arguments,):
                parsed = tyro.cli(
                    kind,
                    prog=prog,
                    args=own,
                    config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
                    **given,
                )
    finally:
        if said.getvalue():
            tell(_COLOURS.sub("", said.getvalue()).rstrip("\n"))
    return parsed


def recorded(arguments: list[str]) -> str:
    """Returns the command as it is written beside its results, where no password may stand."""
    return "leastcontrol " + shlex.join(_without_passwords(arguments))


def _without_passwords(arguments: list[str]) -> list[str]:
    return [hide_password(own) if "://" in own else own for own in arguments]


def _require(what: str, extra: str, *modules: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {' and '.join(missing)}: run pip install 'leastcontrol[{extra}]'."
        )


def _check_names(verb: Reproduce) -> None:
    if (len(verb.names) > 0) + verb.list + verb.all != 1:
        raise ConfigError(
            "reproduce takes names of experiments, or --all, or --list, which shows the names: "
            "write one of them."
        )
    if verb.list and verb.results is not None:
        raise ConfigError("--list runs nothing that --results could hold: leave one of them out.")
    for name in verb.names:
        registry.find(name, registry.EXPERIMENTS)


def _check_processes(verb: Train) -> None:
    if verb.devices != "all" and verb.devices < 1:
        raise ConfigError(
            f"--devices is {verb.devices}, but it must be at least 1, or all: write --devices all."
        )
    if verb.coordinator is None:
        for name in ("processes", "process"):
            if getattr(verb, name) is not None:
                raise ConfigError(
                    f"{flag(name)} is given without --coordinator: write --coordinator HOST:PORT, "
                    "the address of the first process."
                )
        return
    host, _, port = verb.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"--coordinator is {verb.coordinator}, but it must be the address and port of the "
            "first process: write --coordinator localhost:12321."
        )
    if verb.processes is None or verb.process is None:
        raise ConfigError(
            "--coordinator joins several processes, but not how many and which one this is: add "
            "--processes 2 --process 0."
        )
    if not 0 <= verb.process < verb.processes:
        raise ConfigError(
            f"--process is {verb.process} of --processes {verb.processes}, but it must be at least "
            "0 and below their number: write --process 0."
        )


def _check_plot(verb: Bench) -> None:
    if verb.plot is None:
        return
    if not verb.grow:
        raise ConfigError(
            "--plot draws growth, and nothing grows: add --grow width, depth or batch."
        )
    if verb.plot.suffix not in PLOT_SUFFIXES:
        raise ConfigError(
            f"--plot is {verb.plot}, but its suffix is one of {', '.join(PLOT_SUFFIXES)}: write "
            "--plot growth.svg."
        )
    _require("--plot", "plot", "matplotlib")


def _check_file(name: str, path: Path | None) -> None:
    # Asked before the work whose result it is to hold.
    if path is None:
        return
    try:
        possible = not path.is_dir() and path.parent.is_dir()
    except OSError as error:
        raise ConfigError(
            f"{flag(name)} cannot be the name of a file ({error.strerror}): name another file."
        ) from error
    if not possible:
        raise ConfigError(
            f"{flag(name)} is {path}, but it must be a file in an existing folder: make the folder "
            "first, or name another file."
        )


def arms(verb: Compare) -> list[tuple[str, str, RunConfig]]:
    """Returns rule, system and configuration of what is compared.

    **Raises:** `ConfigError` for words that are none.
    """
    base = run_config(verb)
    return [
        (rule, system, _with_words(_with_words(base, "system", system), "rule", rule))
        for system in verb.systems or (base.system,)
        for rule in verb.rules
    ]


def _with_words(base: RunConfig, name: str, words: str) -> RunConfig:
    """Returns a configuration with an option set, and those that follow its value."""
    try:
        value, *options = shlex.split(words)
    except ValueError as error:
        raise ConfigError(
            f"{flag(name + 's')} has {words!r}, which is no word with its options: write "
            f"{flag(name + 's')} {getattr(RunConfig, name)}."
        ) from error
    check_choice(f"The {name}", value, CHOICES[name])
    prog = f"leastcontrol compare: {words}"
    return _parsed(RunConfig, prog, [flag(name), value, *options], default=base)


def run_config(verb: RunConfig) -> RunConfig:
    """Returns the configuration in a training's options."""
    names = [field.name for field in dataclasses.fields(RunConfig)]
    return RunConfig(**{name: getattr(verb, name) for name in names})


def meta_config(verb: Meta) -> MetaConfig:
    """Returns the configuration in a meta-training's options."""
    names = [field.name for field in dataclasses.fields(MetaConfig)]
    return MetaConfig(**{name: getattr(verb, name) for name in names})


def represent_config(verb: Represent) -> RepresentConfig:
    """Returns the configuration in the options of implicit representations."""
    names = [field.name for field in dataclasses.fields(RepresentConfig)]
    return RepresentConfig(**{name: getattr(verb, name) for name in names})


def data_config(verb: Data) -> RunConfig:
    """Returns a configuration with the data that the options name."""
    return RunConfig(
        data=verb.name,
        data_dir=verb.data_dir,
        validation_fraction=verb.validation_fraction,
        split_seed=verb.split_seed,
    )
