"""`leastcontrol train`."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..._names import strength_shown
from ...runs.config import RunConfig
from ...runs.config_file import read_options
from ...runs.interruption import interruptible
from ...runs.measures import Measure, measure_of, summary_measures
from ...runs.options import ConfigError, flag, option
from .._console import program, say
from .._display import Table, Work, curve
from .._given import values_given
from ._configured import AbstractConfiguredVerb, CheckpointCommand
from ._verb import check_file, check_installed, check_keep_last, check_out, write_result

if TYPE_CHECKING:
    from ...training import EpochMetrics


@dataclasses.dataclass(frozen=True)
class TrainCommand(CheckpointCommand):
    """The options of `train`."""

    config: Path | None = option(None, "TOML file whose table [train] has options")
    tensorboard: bool = option(False, "Write TensorBoard's files as well")
    devices: int | Literal["all"] = option(
        1, "Devices of each process, or all; they share every batch equally"
    )
    devices_per_copy: int = option(
        1,
        "Devices that hold one copy of the weights, the optimiser's states and the data between "
        "them; a divisor of --devices",
    )
    coordinator: str | None = option(
        None,
        "HOST:PORT of the first process; it listens there alone, without a password, for those "
        "that train with it: name an address of a network that you trust",
    )
    processes: int | None = option(None, "Processes that train together")
    process: int | None = option(None, "Which of them this is, from 0; only 0 writes")


class Train(AbstractConfiguredVerb[RunConfig]):
    """Train a network and write a run folder."""

    verb: ClassVar[str] = "train"
    kind = RunConfig
    command_kind = TrainCommand

    @classmethod
    def base(cls, arguments: list[str]) -> RunConfig:
        """Returns the configuration in the file that is named, if one is."""
        given = values_given(arguments)
        _check_no_tasks(given.get("data"))
        return (
            RunConfig.of(**read_options(Path(given["config"])))
            if "config" in given
            else RunConfig.of()
        )

    def check(self) -> None:
        """Checks the options of the command."""
        check_out(self.verb, self.command.out)
        check_keep_last(self.command.keep_last)
        check_file("results", self.command.results)
        _check_processes(self.command)
        if self.command.tensorboard:
            check_installed("--tensorboard", "tensorboard", "tensorboardX")

    def run(self, command: str) -> int:
        """Runs the training, shows how far it is, and prints the summary."""
        from ...runs.train import run_training
        from ...training import TensorBoard, connect, device_mesh, is_first

        options = self.command
        if options.coordinator is not None:
            connect(options.coordinator, options.processes, options.process)
        devices = None if options.devices == "all" else options.devices
        mesh = device_mesh(devices, options.devices_per_copy)
        epochs, seeds = self.config.optimiser.epochs, self.config.all_seeds()
        out, measure = check_out(self.verb, options.out), measure_of(self.config)
        with Work(epochs * len(seeds), "epochs") as work, interruptible() as saved:

            def report(seed: int, metrics: "EpochMetrics") -> None:
                done = seeds.index(seed) * epochs + metrics.epoch
                value = measure.shown(getattr(metrics.validation, measure.name))
                work.at(
                    self._line(seed, metrics),
                    done,
                    short=f"seed {seed}, validation {value}",
                    last=metrics.epoch == epochs,
                )
                saved(f"epoch {metrics.epoch} of seed {seed}")

            summary = run_training(
                self.config,
                out,
                command=command,
                resume=options.resume,
                keep_last=options.keep_last,
                # One device needs no copies of what it has.
                mesh=mesh if mesh.size > 1 else None,
                track=(lambda folder, _: TensorBoard(folder)) if options.tensorboard else None,
                report=report,
            )
        if is_first():
            _print_summary(summary, summary_measures(self.config), self._curve(out))
            write_result(options.results, summary)
            say(f"Look at it: {program()} report {shlex.quote(str(out))}")
        return 0

    def _curve(self, out: Path) -> tuple[str, str]:
        """Draws the validation samples' measure over the epochs, the mean over the seeds."""
        from ...runs.folders import read_metrics, seed_folders

        measure = measure_of(self.config)
        lines = [
            [row["validation"][measure.name] for row in read_metrics(folder)]
            for folder in seed_folders(self.config, out).values()
        ]
        epochs = list(zip(*lines, strict=True))
        means = [None if None in epoch else sum(epoch) / len(epoch) for epoch in epochs]
        first, last = (
            "–" if mean is None else f"{measure.scale * mean:{measure.form}}"
            for mean in (means[0], means[-1])
        )
        shown = f"{curve(means)} {first} → {last} {measure.unit}".rstrip()
        return f"validation {measure.title} by epoch", shown

    def _line(self, seed: int, metrics: "EpochMetrics") -> str:
        removed, tolerance = metrics.removed, metrics.tolerance
        measure, unit = measure_of(self.config), "" if self.config.data.regression else " nats"
        return (
            f"seed {seed}  epoch {metrics.epoch:>3}  loss {metrics.loss:.4f}{unit}  "
            f"validation {measure.shown(getattr(metrics.validation, measure.name))}  solved "
            f"{100 * metrics.converged_fraction:.2f} %  {metrics.steps_mean:.1f} steps a solve"
            f"{'' if removed is None else f'  removed {100 * removed:.1f} %'}"
            f"{'' if tolerance is None else f'  tolerance {tolerance:.1e}'}"
            f"  {metrics.step_ms:.2f} ms a step"
        )


def _check_no_tasks(word: str | None) -> None:
    from ...runs.words.meta.tasks import TASKS

    if word in [kind.word for kind in TASKS]:
        raise ConfigError(
            f"--data is {word!r}, which are tasks to be learned fast and no data set: write "
            f"leastcontrol meta --tasks {word}."
        )


def _check_processes(command: TrainCommand) -> None:
    if command.devices != "all" and command.devices < 1:
        raise ConfigError(
            f"--devices is {command.devices}, but it must be at least 1, or all: write --devices "
            "all."
        )
    per_copy = command.devices_per_copy
    if per_copy < 1:
        raise ConfigError(
            f"--devices-per-copy is {per_copy}, but a copy lies on at least 1 device: write "
            "--devices-per-copy 1."
        )
    if command.devices != "all" and command.devices % per_copy:
        fitting = per_copy * (command.devices // per_copy + 1)
        raise ConfigError(
            f"--devices is {command.devices}, but --devices-per-copy is {per_copy}, and each "
            f"device belongs to one copy: write a multiple, such as --devices {fitting}."
        )
    if command.coordinator is None:
        for name in ("processes", "process"):
            if getattr(command, name) is not None:
                raise ConfigError(
                    f"{flag(name)} is given without --coordinator: write --coordinator HOST:PORT, "
                    "the address of the first process."
                )
        return
    host, _, port = command.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"--coordinator is {command.coordinator}, but it must be the address and port of the "
            "first process: write --coordinator localhost:12321."
        )
    if command.processes is None or command.process is None:
        raise ConfigError(
            "--coordinator joins several processes, but not how many and which one this is: add "
            "--processes 2 --process 0."
        )
    if not 0 <= command.process < command.processes:
        raise ConfigError(
            f"--process is {command.process} of --processes {command.processes}, but it must be at "
            "least 0 and below their number: write --process 0."
        )


def _print_summary(
    summary: dict[str, Any], measures: dict[str, tuple[str, Measure]], line: tuple[str, str]
) -> None:
    spread = summary.get("std", {})

    def figure(name: str, scale: float, form: str, unit: str) -> str:
        text = f"{scale * summary[name]:{form}}"
        if name in spread:
            text += f" ± {scale * spread[name]:{form}}"
        return f"{text} {unit}".rstrip()

    table = Table()
    for name, (part, measure) in measures.items():
        text = figure(name, measure.scale, measure.form, measure.unit)
        table.add_row(f"{part} {measure.title}", text)
    table.add_row(*line)
    table.add_row("step (median)", figure("step_ms_median", 1.0, ".2f", "ms"))
    solve = summary["solve"]
    table.add_row("solved", f"{100 * solve['converged_fraction']:.3f} %")
    if "strength" in summary:
        strength = summary["strength"]
        mean, end = (100 * strength[name] for name in ("removed_mean", "removed_end"))
        table.add_row("strength of control", strength_shown(strength))
        table.add_row(
            "loss removed by control", f"{mean:.1f} % mean, {end:.1f} % in the last epoch"
        )
    if "tolerance" in summary:
        tolerance = summary["tolerance"]
        table.add_row(
            "tolerance, by the gradient's noise",
            f"{tolerance['largest']:.1e} at most, {tolerance['end']:.1e} at the end",
        )
    table.add_row("largest residual of a solved sample", f"{solve['residual_max']:.1e} relative")
    table.add_row("steps a solve", f"{solve['steps_mean']:.1f} mean, {solve['steps_max']} at most")
    table.show()
