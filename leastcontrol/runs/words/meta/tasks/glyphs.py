"""The word `glyphs`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ._tasks import AbstractImageTasks

if TYPE_CHECKING:
    from .....data import Characters


@dataclasses.dataclass(frozen=True)
class Glyphs(AbstractImageTasks):
    """Letters of Matplotlib's fonts."""

    word: ClassVar[str] = "glyphs"

    def characters(self) -> "Characters":
        """Draws the letters."""
        from .....data import read_glyphs

        return read_glyphs()
