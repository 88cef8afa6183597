"""The words of `--feedback-learning`."""

from ._learning import AbstractFeedbackLearningWord as AbstractFeedbackLearningWord
from .none import NoFeedbackLearning
from .quasi_static import QuasiStatic
from .single_phase import SinglePhase
from .two_phase import TwoPhase

FEEDBACK_LEARNING: tuple[type[AbstractFeedbackLearningWord], ...] = (
    NoFeedbackLearning,
    QuasiStatic,
    SinglePhase,
    TwoPhase,
)
