"""`leastcontrol report`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import tyro

from ...files import write_whole
from ...runs.options import ConfigError
from .._console import say
from ._verb import AbstractPlainVerb, check_installed

if TYPE_CHECKING:
    from ...report import Run


@dataclasses.dataclass(frozen=True)
class Report(AbstractPlainVerb):
    """Write one HTML page about runs and comparisons, to be opened from disk."""

    verb: ClassVar[str] = "report"

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

    def check(self) -> None:
        """Checks that there are folders, and what draws them."""
        if not self.folders:
            raise ConfigError("report has no folders: write report DIR.")
        check_installed("report", "plot", "jinja2", "matplotlib")

    def run(self, command: str) -> int:
        """Writes the page."""
        from ... import report

        del command
        runs, comparisons = report.read(self.folders)
        if self.sample is not None:
            from ...runs.inspection import inspect_sample

            for run in runs:
                inspect_sample(run.folder, self.sample, data_dir=self.data_dir)
            runs, comparisons = report.read(self.folders)
        text = report.page(runs, comparisons, report.figures(runs))
        write_whole(self.out, text)
        say(f"{self.out} shows {len(runs)} run{'' if len(runs) == 1 else 's'}.")
        if self.figures is not None:
            count = _write_figures(self.figures, runs)
            say(f"{self.figures} holds {count} figures, each as SVG and PNG.")
        return 0


def _write_figures(folder: Path, runs: list["Run"]) -> int:
    from ... import report

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--figures is {folder}, which cannot be made ({error.strerror}): name a folder."
        ) from error
    count = 0
    for name, content in report.figure_files(runs):
        write_whole(folder / name, content)
        count += 1
    return count // 2
