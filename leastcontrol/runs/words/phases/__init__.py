"""The words of `--phase`."""

from ...options import words_in
from ._phase import AbstractPhaseWord as AbstractPhaseWord

PHASES: tuple[type[AbstractPhaseWord], ...] = words_in(
    __name__,
    "steady_state",
    "simulated_steady_state",
    "analytic_steady_state",
    "continuous",
)
