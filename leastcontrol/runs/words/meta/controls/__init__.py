"""The words of least control's `--control`."""

from ._control import AbstractControlWord as AbstractControlWord
from .descent import Descent
from .direct import Direct
from .euler import Euler
from .optimal import Optimal

CONTROLS: tuple[type[AbstractControlWord], ...] = (Euler, Descent, Direct, Optimal)
