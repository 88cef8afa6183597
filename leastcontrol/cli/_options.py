"""The options of every verb."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..bench.config import BenchConfig
from ..runs.config import RunConfig
from ..runs.meta_config import MetaConfig
from ..runs.represent_config import RepresentConfig


@dataclasses.dataclass(frozen=True)
class Train(RunConfig):
    """Train a network and write a run folder."""

    config: Path | None = None
    """TOML file with a table [train] of options, which those that are given here override."""
    out: Path | None = None
    """New folder of the run; required."""
    results: Path | None = None
    """File for the summary besides the run folder's."""
    resume: bool = False
    """Go on with the run that the folder holds, if it holds one, from its last checkpoint."""
    keep_last: int = 2
    """How many checkpoints are kept, the newest ones."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder besides."""
    devices: int | Literal["all"] = 1
    """Devices of each process that take equal shares of every batch."""
    coordinator: str | None = None
    """HOST:PORT of the first of several processes that train together, the same for all. It listens
    there alone, without a password: name an address of a network that you trust."""
    processes: int | None = None
    """How many processes train together."""
    process: int | None = None
    """Which of them this is, from 0; only 0 writes."""


@dataclasses.dataclass(frozen=True)
class Meta(MetaConfig):
    """Train slow weights from which tasks are learned fast, and write a run folder."""

    out: Path | None = None
    """New folder of the run; required."""
    results: Path | None = None
    """File for the summary besides the run folder's."""
    resume: bool = False
    """Go on with the run that the folder holds, if it holds one, from its last checkpoint."""
    keep_last: int = 2
    """How many checkpoints are kept, the newest ones."""


@dataclasses.dataclass(frozen=True)
class Represent(RepresentConfig):
    """Learn pictures as implicit representations, and write a run folder with figures."""

    out: Path | None = None
    """New folder of the run; required."""
    results: Path | None = None
    """File for the summary besides the run folder's."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure a finished run on its validation and test sets, or on its test tasks."""

    folder: tyro.conf.Positional[Path]
    """Folder that `train` or `meta` wrote."""
    data_dir: Path | None = None
    """Folder with the data set's files, if not where they were in training."""
    json: Path | None = None
    """File for the figures."""


@dataclasses.dataclass(frozen=True)
class Compare(RunConfig):
    """Train several rules on the same batches from the same weights, and compare them."""

    rules: tuple[str, ...] = ("backpropagation", "least-control")
    """Rules, each with options of its own if in quotes ("least-control --controller energy"); the
    others are compared with the first."""
    systems: tuple[str, ...] = ()
    """Systems, likewise ("rnn --hidden 64"); the one of --system by default."""
    target: float | None = None
    """Validation accuracy, a share, to which epochs and seconds are counted; of target vectors, the
    mean squared error."""
    out: Path | None = None
    """New folder of the comparison; required."""
    resume: bool = False
    """Go on with the comparison that the folder holds, if it holds one."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Search for the options with which a training does best on its validation split."""

    config: tyro.conf.Positional[Path]
    """TOML file with tables [train], of fixed options, and [search], of lists and ranges."""
    out: Path | None = None
    """Folder of the sweep, required: a new one, or that of this sweep, to go on with it or to work
    on it with other processes at the same time."""
    trials: int = 20
    """How many are to be finished, by all workers together."""
    store: str | None = None
    """URL of the database that the workers share; a SQLite file in the folder by default. Its
    password is neither kept nor shown."""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Run tables or figures of the papers, and tell our numbers beside theirs."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Their names; --list shows them."""
    list: bool = False
    """Show all names with their sources, expected numbers, times and needs, and run nothing."""
    all: bool = False
    """All that can be run."""
    quick: bool = False
    """Reduced versions, each of which says what it reduces."""
    out: Path = Path("runs/reproduce")
    """Folder with a folder for each; what is finished there is not run again, and what was
    interrupted goes on."""
    results: Path | None = None
    """File for the verdicts and wall times, written anew after each experiment."""
    data_dir: Path | None = None
    """Folder with the data sets' files, if not where they are looked for."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a run's weights and configuration as one file."""

    folder: tyro.conf.Positional[Path]
    """Folder that `train` wrote, of one seed."""
    out: Path
    """File of the model."""
    weights: str = "last"
    """last, or best by the validation accuracy."""
    data_dir: Path | None = None
    """Folder with the data set's files, if not where they were in training."""


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classify samples with an exported model, or tell its outputs for target vectors."""

    model: tyro.conf.Positional[Path]
    """File that `export` wrote."""
    samples: tyro.conf.Positional[tuple[Path, ...]]
    """Images, CSV files with a sample in each row, or NumPy files (.npy)."""
    full: float | None = None
    """Value of a full pixel; 255 for images and unsigned bytes by default, else 1."""
    csv: Path | None = None
    """File for a row of each sample."""
    json: Path | None = None
    """File for the predictions."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Write one HTML page about runs and comparisons, to be opened from disk."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that `train` or `compare` wrote."""
    out: Path = Path("report.html")
    """File of the page."""
    figures: Path | None = None
    """Folder for the figures as SVG and PNG files, made if it is missing."""
    sample: int | None = None
    """Number of a validation sample, from 0: its way to rest, free and controlled, is computed from
    the kept weights, written into the run folders and shown."""
    data_dir: Path | None = None
    """Folder with the data set's files, for --sample, if not where they were in training."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Check the method's properties on random systems, and replay reference vectors."""

    vectors: tuple[Path, ...] = ()
    """Files or folders of reference vectors."""
    json: Path | None = None
    """File for the list of checks."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Load a data set, check it and say what it holds."""

    name: tyro.conf.Positional[str] = "digits"
    """digits, mnist, fashion-mnist, cifar10, student-teacher, digits-autoencoder, mnist-autoencoder
    or fashion-mnist-autoencoder."""
    data_dir: Path | None = None
    """Folder with the data set's files."""
    validation_fraction: float = 1 / 12
    """Share of the samples that are not test samples, kept for validation."""
    split_seed: int = 0
    """Seed of the split."""
    json: Path | None = None
    """File for the description."""


@dataclasses.dataclass(frozen=True)
class Bench(BenchConfig):
    """Time a step of every rule beside backpropagation, or measure how the time grows."""

    json: Path | None = None
    """File for the list of rows."""
    plot: Path | None = None
    """File for a plot of growth, in the format of its suffix; needs matplotlib."""


Verb = (
    Annotated[Train, tyro.conf.subcommand("train", default=Train())]
    | Annotated[Meta, tyro.conf.subcommand("meta", default=Meta())]
    | Annotated[Represent, tyro.conf.subcommand("represent", default=Represent())]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("compare", default=Compare())]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Data, tyro.conf.subcommand("data")]
)
