"""`leastcontrol meta`."""

from typing import TYPE_CHECKING, Any, ClassVar

from ...runs.interruption import interruptible
from ...runs.meta_config import MetaConfig
from .._display import Table, Work
from ._configured import AbstractConfiguredVerb, CheckpointCommand
from ._verb import check_file, check_keep_last, check_out, write_result

if TYPE_CHECKING:
    from ...training import MetaMetrics


class Meta(AbstractConfiguredVerb[MetaConfig]):
    """Train slow weights from which tasks are learned fast, and write a run folder."""

    verb: ClassVar[str] = "meta"
    kind = MetaConfig
    command_kind = CheckpointCommand

    def check(self) -> None:
        """Checks the options of the command."""
        check_out(self.verb, self.command.out)
        check_keep_last(self.command.keep_last)
        check_file("results", self.command.results)

    def run(self, command: str) -> int:
        """Runs the meta-training, shows how far it is, and prints the summary."""
        from ...runs.meta import run_meta

        seeds, steps = self.config.all_seeds(), self.config.steps()
        with Work(steps * len(seeds), "steps") as work, interruptible() as saved:

            def report(seed: int, metrics: "MetaMetrics") -> None:
                done = seeds.index(seed) * steps + metrics.step
                work.at(
                    self._line(seed, metrics),
                    done,
                    short=f"seed {seed}, loss {metrics.validation.loss:.4f}",
                    last=metrics.step == steps,
                )
                saved(f"step {metrics.step} of seed {seed}")

            summary = run_meta(
                self.config,
                check_out(self.verb, self.command.out),
                command=command,
                resume=self.command.resume,
                keep_last=self.command.keep_last,
                report=report,
            )
        _print_summary(summary)
        write_result(self.command.results, summary)
        return 0

    def _line(self, seed: int, metrics: "MetaMetrics") -> str:
        validation = metrics.validation
        accuracy = "" if validation.accuracy is None else f"  {100 * validation.accuracy:.2f} %"
        return (
            f"seed {seed}  step {metrics.step:>6} of {self.config.steps()}  loss "
            f"{metrics.loss:.4f}  validation {validation.loss:.4f}{accuracy}  residual "
            f"{metrics.residual_median:.1e} of the allowed  {metrics.step_ms:.2f} ms a step"
        )


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table()
    if "per_seed" in summary:
        seeds = f" over {len(summary['seed'])} seeds, of {summary['test_tasks']} tasks each"
        for name, scale, unit in (("accuracy", 100, " %"), ("loss", 1, "")):
            if f"test_{name}" in summary:
                mean, spread = (scale * summary[part][f"test_{name}"] for part in ("mean", "std"))
                table.add_row(f"test {name}{seeds}", f"{mean:.4g} ± {spread:.2g}{unit}")
    else:
        test = summary["test"]
        if test["accuracy"] is not None:
            table.add_row("test accuracy", with_interval(test, "accuracy", 100.0, 2) + " %")
        table.add_row("test loss", with_interval(test, "loss", 1.0, 4))
        table.add_row("test tasks, for the 95 % intervals", f"{test['tasks']}")
    table.add_row("step (median)", f"{summary['step_ms_median']:.2f} ms")
    table.add_row("working memory of a step", f"{summary['step_bytes'] / 2**20:.2f} MiB")
    table.add_row("residual (median)", f"{summary['residual_median']:.1e} of the allowed")
    table.show()


def with_interval(test: dict[str, Any], name: str, scale: float, digits: int) -> str:
    """Returns a figure of test tasks with its 95 % interval."""
    return f"{scale * test[name]:.{digits}f} ± {scale * test[f'{name}_interval']:.{digits}f}"
