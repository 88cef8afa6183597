"""The words of `represent`'s `--rule`."""

from ...options import words_in
from ._rule import AbstractRepresentRule as AbstractRepresentRule

REPRESENT_RULES: tuple[type[AbstractRepresentRule], ...] = words_in(
    __name__,
    "least_control",
    "recurrent_backpropagation",
)
