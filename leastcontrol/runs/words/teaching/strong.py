"""The word `strong`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._teaching import AbstractTeachingWord, check_reachable

if TYPE_CHECKING:
    from ....controllers import AbstractTeaching


@dataclasses.dataclass(frozen=True)
class Strong(AbstractTeachingWord):
    """The target itself."""

    word: ClassVar[str] = "strong"
    strong: ClassVar[bool] = True

    def build(self) -> "AbstractTeaching":
        """Makes the teaching."""
        from ....controllers import Strong

        return Strong()

    def check(self, config: Any) -> None:
        """Checks that the target can be reached."""
        check_reachable(self.word, config)
