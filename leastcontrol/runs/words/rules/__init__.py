"""The words of `--rule`."""

from ...options import words_in
from ._rule import AbstractRuleWord as AbstractRuleWord

RULES: tuple[type[AbstractRuleWord], ...] = words_in(
    __name__,
    "least_control",
    "backpropagation",
    "recurrent_backpropagation",
    "backpropagation_through_time",
    "deep_feedback_control",
    "feedback_alignment",
    "direct_feedback_alignment",
    "equilibrium_propagation",
    "centred_equilibrium_propagation",
    "predictive_coding",
    "phantom_gradient",
    "jacobian_free_backpropagation",
)
