"""The word `two-phase`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError
from ..simulation import AbstractSimulation
from ._learning import AbstractFeedbackLearningWord, AbstractFiltered, AbstractLearningNoise

if TYPE_CHECKING:
    from ....feedback_control import AbstractFeedbackLearning


@dataclasses.dataclass(frozen=True)
class TwoPhase(
    AbstractFeedbackLearningWord, AbstractSimulation, AbstractFiltered, AbstractLearningNoise
):
    """Learning in a noisy phase of its own."""

    word: ClassVar[str] = "two-phase"

    def build(self, rule: Any) -> "AbstractFeedbackLearning":
        """Makes the learning."""
        from ....controllers import Nudged
        from ....feedback_control import TwoPhase

        noise = self.noise_of(self.feedback_noise, self.feedback_noise)
        strong = rule.teaching.strong
        return TwoPhase(
            self.dynamics(rule.controller_leak, noise),
            rule.teaching.build() if strong else Nudged(0.0),
            filter_time_constant=self.filter_time_constant if strong else None,
        )

    def check(self, config: Any) -> None:
        """Checks that the running mean is used where its time constant is given."""
        if not config.rule.teaching.strong and self.filter_time_constant != 0.5:
            raise ConfigError(
                f"--filter-time-constant is {self.filter_time_constant}, but it has no effect "
                "without --teaching strong: add that, or leave it out."
            )
