"""The words of `--system`."""

from ...options import words_in
from ._system import AbstractSystemWord as AbstractSystemWord

SYSTEMS: tuple[type[AbstractSystemWord], ...] = words_in(
    __name__,
    "feedforward",
    "rnn",
    "convolutional",
    "residual",
    "deep_equilibrium",
)
