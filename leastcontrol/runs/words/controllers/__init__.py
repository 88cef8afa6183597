"""The words of `--controller`."""

from ._controller import AbstractControllerWord as AbstractControllerWord
from .automatic import Automatic
from .continuous_time import ContinuousTime
from .dynamic_inversion import DynamicInversion
from .energy import Energy
from .exact import Exact
from .kolen_pollack import KolenPollack
from .linear_feedback import LinearFeedback

CONTROLLERS: tuple[type[AbstractControllerWord], ...] = (
    Automatic,
    DynamicInversion,
    Energy,
    Exact,
    ContinuousTime,
    KolenPollack,
    LinearFeedback,
)
# What other rules than least control can be controlled by.
WITHOUT_LEARNING = tuple(kind for kind in CONTROLLERS if not kind.learned)
