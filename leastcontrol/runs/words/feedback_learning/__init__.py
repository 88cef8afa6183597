"""The words of `--feedback-learning`."""

from ...options import words_in
from ._learning import AbstractFeedbackLearningWord as AbstractFeedbackLearningWord

FEEDBACK_LEARNING: tuple[type[AbstractFeedbackLearningWord], ...] = words_in(
    __name__,
    "none",
    "quasi_static",
    "single_phase",
    "two_phase",
)
