"""`leastcontrol device`."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...runs.device_config import DeviceConfig
from ...runs.interruption import interruptible
from .._display import Table, Work
from ._configured import AbstractConfiguredVerb, CheckpointCommand
from ._verb import check_file, check_keep_last, check_out, write_result

if TYPE_CHECKING:
    from ...devices import DeviceMetrics

SHORT = "process:"


class Device(AbstractConfiguredVerb[DeviceConfig]):
    """Train a device from measurements alone, and write a run folder."""

    verb: ClassVar[str] = "device"
    kind = DeviceConfig
    command_kind = CheckpointCommand

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Makes the verb from its arguments; `process:COMMAND` is a device with its command."""
        return super().parse(with_command(arguments))

    def check(self) -> None:
        """Checks the options of the command."""
        check_out(self.verb, self.command.out)
        check_keep_last(self.command.keep_last)
        check_file("results", self.command.results)

    def run(self, command: str) -> int:
        """Trains the device, shows what is measured of it, and prints the summary."""
        from ...devices import DeviceError
        from ...runs.device import run_device
        from ...runs.options import ConfigError

        said: set[str] = set()
        seeds, epochs = self.config.all_seeds(), self.config.optimiser.epochs

        def show(work: Work, seed: int, metrics: "DeviceMetrics") -> None:
            counts = "  ".join(f"{name} {n}" for name, n in metrics.results.items() if n)
            work.at(
                f"seed {seed}  epoch {metrics.epoch:>3}  loss {metrics.loss:.4f} nats  validation "
                f"{100 * metrics.validation.accuracy:.2f} %  {counts}  noise "
                f"{metrics.noise_floor:.3g}  error left {100 * metrics.remaining_error:.0f} %  "
                f"{metrics.settles} settles",
                seeds.index(seed) * epochs + metrics.epoch,
                short=f"seed {seed}, validation {100 * metrics.validation.accuracy:.2f} %",
                last=metrics.epoch == epochs,
            )
            for fault in metrics.faults:
                if fault not in said:
                    work.tell(f"seed {seed}  {fault}")
                    said.add(fault)

        with Work(epochs * len(seeds), "epochs") as work, interruptible() as saved:

            def report(seed: int, metrics: "DeviceMetrics") -> None:
                show(work, seed, metrics)
                saved(f"epoch {metrics.epoch} of seed {seed}")

            try:
                summary = run_device(
                    self.config,
                    check_out(self.verb, self.command.out),
                    command=command,
                    resume=self.command.resume,
                    keep_last=self.command.keep_last,
                    report=report,
                )
            except DeviceError as error:
                raise ConfigError(str(error)) from error
        _print_summary(summary)
        write_result(self.command.results, summary)
        return 0


def with_command(arguments: list[str]) -> list[str]:
    """Writes `--device process:COMMAND` as the word and its option."""
    words: list[str] = []
    for argument in arguments:
        inline = argument.startswith(f"--device={SHORT}")
        value = argument.removeprefix("--device=") if inline else argument
        if inline or (argument.startswith(SHORT) and words and words[-1] == "--device"):
            command = value.removeprefix(SHORT)
            words += ["--device"] if inline else []
            words += ["process", f"--device-command={command}"]
        else:
            words.append(argument)
    return words


def _print_summary(summary: dict[str, Any]) -> None:
    spread = summary.get("std", {})
    table = Table()
    for title, name, scale, form, unit in (
        ("test accuracy, on the device", "test_accuracy", 100, ".2f", " %"),
        ("test NLL", "test_nll", 1, ".4f", " nats"),
        ("settles of a batch", "settles", 1, ".0f", ""),
        ("error left under control", "remaining_error", 100, ".1f", " %"),
    ):
        text = f"{scale * summary[name]:{form}}"
        if name in spread:
            text += f" ± {scale * spread[name]:{form}}"
        table.add_row(title, text + unit)
    for name, count in summary["certificate"]["counts"].items():
        table.add_row(f"test samples that are {name}", str(count))
    for title, name, figure, scale, unit in (
        ("responses off the description", "mismatch", "response", 100, " %"),
        ("feedback to the true response", "alignment", "angle", 1, "°"),
        ("feedback in its row space", "alignment", "column_space", 100, " %"),
    ):
        if summary.get(name) is not None:
            table.add_row(title, f"{scale * summary[name][figure]:.0f}{unit}")
    for sentence in summary.get("limits", ()):
        table.add_row("what limits", sentence)
    table.show()
