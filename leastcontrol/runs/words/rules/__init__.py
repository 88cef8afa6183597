"""The words of `--rule`."""

from ._rule import AbstractRuleWord as AbstractRuleWord
from .backpropagation import Backpropagation
from .backpropagation_through_time import BackpropagationThroughTime
from .centred_equilibrium_propagation import CentredEquilibriumPropagation
from .deep_feedback_control import DeepFeedbackControl
from .direct_feedback_alignment import DirectFeedbackAlignment
from .equilibrium_propagation import EquilibriumPropagation
from .feedback_alignment import FeedbackAlignment
from .jacobian_free_backpropagation import JacobianFreeBackpropagation
from .least_control import LeastControl
from .phantom_gradient import PhantomGradient
from .predictive_coding import PredictiveCoding
from .recurrent_backpropagation import RecurrentBackpropagation

RULES: tuple[type[AbstractRuleWord], ...] = (
    LeastControl,
    Backpropagation,
    RecurrentBackpropagation,
    BackpropagationThroughTime,
    DeepFeedbackControl,
    FeedbackAlignment,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    CentredEquilibriumPropagation,
    PredictiveCoding,
    PhantomGradient,
    JacobianFreeBackpropagation,
)
