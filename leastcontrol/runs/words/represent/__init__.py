"""The words of `represent`'s `--rule`."""

from ._rule import AbstractRepresentRule as AbstractRepresentRule
from .least_control import LeastControl
from .recurrent_backpropagation import RecurrentBackpropagation

REPRESENT_RULES: tuple[type[AbstractRepresentRule], ...] = (LeastControl, RecurrentBackpropagation)
