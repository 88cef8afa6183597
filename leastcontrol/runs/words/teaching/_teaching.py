"""What the words of `--teaching` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...configuration import AbstractWord
from ...options import ConfigError

if TYPE_CHECKING:
    from ....controllers import AbstractTeaching


@dataclasses.dataclass(frozen=True)
class AbstractTeachingWord(AbstractWord):
    """What deep feedback control drives the output to.

    * `strong`: whether that is the target itself.
    """

    strong: ClassVar[bool]

    @abc.abstractmethod
    def build(self) -> "AbstractTeaching":
        """Makes the teaching."""


def check_reachable(word: str, config: Any) -> None:
    """Checks that a finite output can be the target.

    **Raises:** `ConfigError`.
    """
    if not config.data.regression and config.data.label_smoothing == 0:
        raise ConfigError(
            f"--teaching {word} drives the output to its target, and no finite output has the "
            "probability 1 of a hard label: write --label-smoothing 0.01."
        )
