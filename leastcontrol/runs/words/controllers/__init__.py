"""The words of `--controller`."""

from ...options import words_in
from ._controller import AbstractControllerWord as AbstractControllerWord

CONTROLLERS: tuple[type[AbstractControllerWord], ...] = words_in(
    __name__,
    "automatic",
    "dynamic_inversion",
    "energy",
    "exact",
    "continuous_time",
    "kolen_pollack",
    "linear_feedback",
)
# What other rules than least control can be controlled by.
WITHOUT_LEARNING = tuple(kind for kind in CONTROLLERS if not kind.learned)
