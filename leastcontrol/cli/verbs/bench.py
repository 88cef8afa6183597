"""`leastcontrol bench`."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, ClassVar

from ...bench.config import BenchConfig
from ...runs.options import ConfigError
from .._console import say
from .._display import Work
from ._verb import AbstractPlainVerb, check_file, check_installed, write_result

PLOT_SUFFIXES = (".pdf", ".png", ".svg")


@dataclasses.dataclass(frozen=True)
class Bench(BenchConfig, AbstractPlainVerb):
    """Time a step of every rule beside backpropagation, or measure how the time grows."""

    verb: ClassVar[str] = "bench"

    json: Path | None = None
    """File for the list of rows."""
    plot: Path | None = None
    """File for a plot of growth, in the format of its suffix; needs matplotlib."""

    def check(self) -> None:
        """Checks what is measured, and the files."""
        super().check()
        check_file("json", self.json)
        if self.plot is None:
            return
        if not self.grow:
            raise ConfigError(
                "--plot draws growth, and nothing grows: add --grow width, depth or batch."
            )
        if self.plot.suffix not in PLOT_SUFFIXES:
            raise ConfigError(
                f"--plot is {self.plot}, but its suffix is one of {', '.join(PLOT_SUFFIXES)}: "
                "write --plot growth.svg."
            )
        check_installed("--plot", "plot", "matplotlib")
        check_file("plot", self.plot)

    def run(self, command: str) -> int:
        """Measures the cases, and prints each as soon as it is measured."""
        from ...bench.growth import plot_growth
        from ...bench.measuring import bench

        total = self.rows()
        with Work(total, "rows") as work:
            measured = itertools.count(1)

            def report(row: dict[str, Any]) -> None:
                say(_line(row))
                # Every row is a line of the answer: nothing is left to say without a terminal.
                work.move(f"{row['case']}, {row['rule']}", next(measured))

            rows = bench(self, command=command, report=report, note=work.tell)
        write_result(self.json, rows)
        if self.plot is not None:
            plot_growth(rows, self.plot)
        return 0


def _line(row: dict[str, Any]) -> str:
    lower, upper = row["ms_quartiles"]
    place = f"{row['grown']} {row['size']}" if "grown" in row else row["weights"]
    strength = "" if row["strength"] is None else f"β = {row['strength']:.3g}"
    memory = "" if row["peak_mb"] is None else f"  {row['peak_mb']:.1f} MB"
    if row["converged_fraction"] is None:
        solves = f"gradient within {row['difference']:.0e}"
    else:
        solved = f"{100 * row['converged_fraction']:.2f} %"
        solves = f"solved {solved}  {row['steps']:.1f} steps a solve"
    line = (
        f"{row['case']:<19} {place:<14} {row['rule']:<26} {strength:<12} {row['ms']:8.2f} ms a "
        f"step [{lower:.2f}, {upper:.2f}]  {row['ratio']:6.2f} × {row['ratio_to']}  {solves}"
        f"{memory}"
    )
    return f"{line}  time ∝ {row['grown']}^{row['exponent']:.2f}" if "grown" in row else line
