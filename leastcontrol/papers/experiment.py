"""What one name of `leastcontrol reproduce` stands for."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .reproduction import Judged

# Called with the name of a part, its progress in words, and the share of the part that is done.
Report = Callable[[str, str, float], None]


@dataclasses.dataclass(frozen=True)
class Reduction:
    """The options of a smaller version of an experiment.

    **Arguments:**

    * `sentence`: describes what is reduced. The values that such a run measured before are stored
      under it (`recorded.json`).
    * `options`: replace the options of every row.
    * `minutes`: the approximate time of all rows on two cores.
    * `data`: the name of the data set that it takes if it is at hand; empty for what is there
      anyway or downloaded.
    * `with_data`: the smaller version to run instead where its data set is at hand.
    """

    sentence: str
    options: Mapping[str, Any]
    minutes: int
    data: str = ""
    with_data: "Reduction | None" = None


class AbstractExperiment(abc.ABC):
    """A name of the command, with what it runs.

    * `name`: the word on the command line.
    * `title`: for display.
    * `source`: where it comes from.
    * `missing`: says why it is not run by the command; empty if it is.
    * `reduction`: the smaller version; none if it is small itself.
    * `needs`: the data that the full and the reduced version need, present or downloaded.
    * `differences`: describes in sentences what differs from the source.
    * `compared_with`, `reduced_compared_with`: what a measurement is compared with, in full and
      reduced.
    """

    name: str
    title: str
    source: str
    missing: str
    reduction: Reduction | None
    needs: tuple[str, str]
    differences: str
    compared_with: ClassVar[str]
    reduced_compared_with: ClassVar[str]

    @property
    @abc.abstractmethod
    def minutes(self) -> int:
        """The approximate time of all parts on two cores."""

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in their order."""

    @abc.abstractmethod
    def described_parts(self) -> list[str]:
        """Describes what is run in lines of text."""

    @abc.abstractmethod
    def run(
        self,
        out: Path,
        *,
        reduction: Reduction | None,
        data_dir: Path | None,
        command: str | None,
        report: Report | None,
    ) -> "list[Judged]":
        """Runs what is not finished yet, and judges all of it.

        **Arguments:**

        * `out`: the folder of all experiments.
        * `reduction`: that of the reduced version to run; none for the full size.
        * `data_dir`: the folder with the data, if it is not in the default one.
        * `command`: the command line, for the files.
        * `report`: called when a part has gone on; may raise to stop there.
        """

    @abc.abstractmethod
    def entries(self, out: Path, *, reduction: Reduction | None) -> dict[str, Any]:
        """Returns further entries for the file of verdicts, after it was run."""
