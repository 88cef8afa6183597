"""What the words of `--feedback-learning` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

from ...configuration import AbstractOptions, AbstractWord
from ...options import NON_NEGATIVE, option

if TYPE_CHECKING:
    from ....feedback_control import AbstractFeedbackLearning


@dataclasses.dataclass(frozen=True)
class AbstractFeedbackLearningWord(AbstractWord):
    """How the feedback weights of deep feedback control learn."""

    @abc.abstractmethod
    def build(self, rule: Any) -> "AbstractFeedbackLearning | None":
        """Makes the learning for the word of deep feedback control that it is a part of."""


@dataclasses.dataclass(frozen=True)
class AbstractLearningNoise(AbstractOptions):
    """Learning from a noise that it adds itself."""

    feedback_noise: float = option(
        0.1,
        "Deviation of the noise, in apical voltages, that feedback learns from",
        range=NON_NEGATIVE,
    )


@dataclasses.dataclass(frozen=True)
class AbstractDecay(AbstractOptions):
    """Feedback weights that decay."""

    direct_feedback_decay: float = option(
        0.0, "Decay γ of the feedback weights, beside what they learn", range=NON_NEGATIVE
    )


@dataclasses.dataclass(frozen=True)
class AbstractFiltered(AbstractOptions):
    """Learning from a control less its running mean."""

    filter_time_constant: float = option(
        0.5, "Time constant of the running mean that is taken off the control"
    )
