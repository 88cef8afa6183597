"""The word `direct-feedback-alignment`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ._rule import AbstractFreeRule, check_direct

if TYPE_CHECKING:
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class DirectFeedbackAlignment(AbstractFreeRule):
    """Errors that are sent to every layer through fixed random weights."""

    word: ClassVar[str] = "direct-feedback-alignment"

    def build(self, config: Any) -> "AbstractRule":
        """Makes the rule."""
        from ....rules import DirectFeedbackAlignment

        return DirectFeedbackAlignment(
            config.data.loss(), self.allowance(), self.solver(), self.policy()
        )

    def check(self, config: Any) -> None:
        """Checks that there are neurons for direct feedback."""
        check_direct("rule", self.word, config)
