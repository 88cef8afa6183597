"""The word `label-difference`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError
from ._teaching import AbstractTeachingWord, check_reachable

if TYPE_CHECKING:
    from ....controllers import AbstractTeaching


@dataclasses.dataclass(frozen=True)
class LabelDifference(AbstractTeachingWord):
    """The label, by its difference from the softmax."""

    word: ClassVar[str] = "label-difference"
    strong: ClassVar[bool] = True

    def build(self) -> "AbstractTeaching":
        """Makes the teaching."""
        from ....controllers import LabelDifference

        return LabelDifference()

    def check(self, config: Any) -> None:
        """Checks that there are labels, and that they can be reached."""
        if config.data.regression:
            raise ConfigError(
                f"--teaching label-difference is given, but --data {config.data.word} has no "
                "labels: write --teaching strong, which is the same for vectors."
            )
        check_reachable(self.word, config)
