"""The words of `--phase`."""

from ._phase import AbstractPhaseWord as AbstractPhaseWord
from .analytic_steady_state import AnalyticSteadyState
from .continuous import Continuous
from .simulated_steady_state import SimulatedSteadyState
from .steady_state import SteadyState

PHASES: tuple[type[AbstractPhaseWord], ...] = (
    SteadyState,
    SimulatedSteadyState,
    AnalyticSteadyState,
    Continuous,
)
