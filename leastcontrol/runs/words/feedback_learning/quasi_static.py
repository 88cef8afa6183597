"""The word `quasi-static`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import NON_NEGATIVE, ConfigError, at_least, option
from ._learning import AbstractDecay, AbstractFeedbackLearningWord, AbstractLearningNoise

if TYPE_CHECKING:
    from ....feedback_control import AbstractFeedbackLearning


@dataclasses.dataclass(frozen=True)
class QuasiStatic(AbstractFeedbackLearningWord, AbstractLearningNoise, AbstractDecay):
    """Learning from slow noise at a rest point that is solved for."""

    word: ClassVar[str] = "quasi-static"

    quasi_static_leak: float | None = option(
        None,
        "Leak of a phase in which feedback learns alone; by default it learns with the others",
        range=NON_NEGATIVE,
    )
    feedback_samples: int | None = option(
        None, "Number of samples of each batch with that phase; all by default", range=at_least(1)
    )

    def build(self, rule: Any) -> "AbstractFeedbackLearning":
        """Makes the learning."""
        from ....feedback_control import QuasiStatic

        return QuasiStatic(
            self.feedback_noise,
            self.direct_feedback_decay,
            self.quasi_static_leak,
            self.feedback_samples,
        )

    def check(self, config: Any) -> None:
        """Checks that the rest point is solved for."""
        phase = config.rule.phase.word
        if phase != "steady-state":
            raise ConfigError(
                f"--feedback-learning quasi-static shifts a rest point that was solved for, and "
                f"--phase is {phase}: write --phase steady-state."
            )
        if self.feedback_samples is not None and self.quasi_static_leak is None:
            raise ConfigError(
                f"--feedback-samples is {self.feedback_samples}, but it has no effect without "
                "--quasi-static-leak 1: add that, or leave it out."
            )
