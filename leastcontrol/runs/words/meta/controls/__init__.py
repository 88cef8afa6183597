"""The words of least control's `--control`."""

from ....options import words_in
from ._control import AbstractControlWord as AbstractControlWord

CONTROLS: tuple[type[AbstractControlWord], ...] = words_in(
    __name__,
    "euler",
    "descent",
    "direct",
    "optimal",
)
