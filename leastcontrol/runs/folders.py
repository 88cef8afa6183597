"""Reading run folders."""

from pathlib import Path
from typing import Any

from .. import files
from .config import AbstractSeededConfig, RunConfig
from .configuration import verb_of
from .options import ConfigError


def read_json(path: Path) -> Any:
    """Reads a file of a run folder.

    **Raises:** `ConfigError` where it is missing or damaged.
    """
    try:
        return files.read_of_run(path.parent, path.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{path.parent} is not a run folder, for it has no {path.name}: give the folder that "
            "`leastcontrol train --out DIR` wrote."
        ) from error
    except files.FileError as error:
        raise ConfigError(str(error)) from error


def read_config(folder: Path) -> RunConfig:
    """Reads the configuration of a training's folder.

    **Raises:** `ConfigError` if there is none, or it cannot be run.
    """
    path = folder / "config.json"
    values = read_json(path)
    if verb_of(values) == "meta":
        raise ConfigError(
            f"{folder} holds a meta-training, which has no classifier of samples: give the folder "
            "that `leastcontrol train --out DIR` wrote."
        )
    return RunConfig.from_json(values, str(path))


def read_metrics(folder: Path, *, whole: bool = False) -> list[Any]:
    """Reads the lines of a run folder's `metrics.jsonl`; none where there is no such file.

    A last line without its end is one that was still being written; with `whole`, or where the run
    is finished, it is damage.

    **Raises:** `files.FileError` where a line is damaged.
    """
    required = files.is_sealed_run(folder)
    lines = files.metrics_lines(folder, whole=whole)
    return [
        files.parse_metrics(folder, number, line, required=required)
        for number, line in enumerate(lines, 1)
    ]


def seed_folders(config: AbstractSeededConfig, folder: Path) -> dict[int, Path]:
    """Returns the folder of each of a run's seeds: the run's own where there is only one."""
    seeds = config.all_seeds()
    return {seed: folder / f"seed-{seed}" if len(seeds) > 1 else folder for seed in seeds}
