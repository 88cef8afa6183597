"""The word `student-teacher`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...options import option
from ._data import SEED, AbstractData

if TYPE_CHECKING:
    from ....data import SampleSplits
    from ....losses import AbstractLoss


@dataclasses.dataclass(frozen=True)
class StudentTeacher(AbstractData):
    """Outputs of a random network for random inputs."""

    word: ClassVar[str] = "student-teacher"
    regression: ClassVar[bool] = True
    pixels: ClassVar[bool] = False

    split_seed: int = option(0, "Seed of the teacher and of the samples", range=SEED)

    def load(self) -> "SampleSplits":
        """Draws the teacher and its samples."""
        from .... import data

        return data.student_teacher(seed=self.split_seed)

    def loss(self) -> "AbstractLoss":
        """Makes the squared error."""
        from ....losses import SquaredError

        return SquaredError()
