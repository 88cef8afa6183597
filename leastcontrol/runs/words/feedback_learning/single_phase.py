"""The word `single-phase`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError, option
from ._learning import AbstractDecay, AbstractFeedbackLearningWord, AbstractFiltered

if TYPE_CHECKING:
    from ....feedback_control import AbstractFeedbackLearning


@dataclasses.dataclass(frozen=True)
class SinglePhase(AbstractFeedbackLearningWord, AbstractFiltered, AbstractDecay):
    """Learning from the noise of the phase that the other weights learn in."""

    word: ClassVar[str] = "single-phase"

    feedback_start: int = option(0, "Time point from which feedback learns")

    def build(self, rule: Any) -> "AbstractFeedbackLearning":
        """Makes the learning."""
        from ....feedback_control import SinglePhase

        return SinglePhase(
            self.filter_time_constant,
            start=self.feedback_start,
            decay=self.direct_feedback_decay,
        )

    def check(self, config: Any) -> None:
        """Checks that the phase is simulated with noise."""
        phase = config.rule.phase
        if not phase.simulated or not phase.noisy:
            raise ConfigError(
                "--feedback-learning single-phase learns from the noise of a simulated phase: "
                "write --phase continuous --noise 0.1."
            )
