"""The word `omniglot`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...data._data import AbstractFiles
from ._tasks import AbstractImageTasks

if TYPE_CHECKING:
    from .....data import Characters


@dataclasses.dataclass(frozen=True)
class Omniglot(AbstractImageTasks, AbstractFiles):
    """Handwritten characters of fifty alphabets."""

    word: ClassVar[str] = "omniglot"

    def characters(self) -> "Characters":
        """Reads the archives."""
        from .....data import OMNIGLOT

        return OMNIGLOT.read(self.data_dir)
