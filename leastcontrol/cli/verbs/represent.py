"""`leastcontrol represent`."""

from typing import TYPE_CHECKING, Any, ClassVar

from ...runs.interruption import interruptible
from ...runs.represent_config import RepresentConfig
from .._display import Table, Work
from ._configured import AbstractConfiguredVerb, RunCommand
from ._verb import check_file, check_installed, check_out, write_result

if TYPE_CHECKING:
    from ...runs.represent import Look


class Represent(AbstractConfiguredVerb[RepresentConfig]):
    """Learn pictures as implicit representations, and write a run folder with figures."""

    verb: ClassVar[str] = "represent"
    kind = RepresentConfig
    command_kind = RunCommand

    def check(self) -> None:
        """Checks the options of the command."""
        check_out(self.verb, self.command.out)
        check_file("results", self.command.results)
        check_installed(self.verb, "train", "matplotlib", "PIL")

    def run(self, command: str) -> int:
        """Learns the pictures, shows how far that is, and prints the summary."""
        from ...runs.represent import run_representations

        seeds, steps = self.config.all_seeds(), self.config.optimiser.steps
        names = self.config.pictures.images

        def look(seed: int, seen: "Look") -> None:
            pictures = seeds.index(seed) * len(names) + names.index(seen.image)
            work.at(
                f"seed {seed}  {seen.image}  step {seen.step:>5} of {self.config.optimiser.steps}  "
                f"{seen.psnr_test:.2f} dB  trained pixels {seen.psnr_train:.2f} dB  "
                f"solved {100 * seen.converged_fraction:.2f} %  "
                f"{seen.solve_steps:.1f} steps a solve  {seen.step_ms:.1f} ms a step",
                pictures * steps + seen.step,
                short=f"seed {seed}, {seen.image}: {seen.psnr_test:.2f} dB",
                last=seen.step == steps,
            )

        total = len(seeds) * len(names) * steps
        with Work(total, "steps") as work, interruptible() as saved:

            def report(seed: int, seen: "Look") -> None:
                look(seed, seen)
                saved(f"{seen.image} of seed {seed}")

            summary = run_representations(
                self.config,
                check_out(self.verb, self.command.out),
                command=command,
                resume=self.command.resume,
                report=report,
                look=look,
            )
        _print_summary(summary)
        write_result(self.command.results, summary)
        return 0


def _print_summary(summary: dict[str, Any]) -> None:
    several = "per_seed" in summary
    over = f"the seeds {' '.join(map(str, summary['seed']))}" if several else "the pictures"
    table = Table(
        "pictures", "PSNR of pixels not trained on", "count", title=f"mean ± deviation over {over}"
    )
    first = summary["per_seed"][0] if several else summary
    for name, figures in first["psnr_test"].items():
        value, deviation = figures["mean"], figures["std"]
        if several:
            value, deviation = (summary[part][f"psnr_test_{name}"] for part in ("mean", "std"))
        spread = "" if deviation is None else f" ± {deviation:.2f}"
        table.add_row(name, f"{value:.2f}{spread} dB", str(figures["count"]))
    table.show()
