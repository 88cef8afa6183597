"""The words of `--tasks`."""

from ._tasks import AbstractTasksWord as AbstractTasksWord
from ._tasks import Parts as Parts
from .glyphs import Glyphs
from .omniglot import Omniglot
from .sinusoid import Sinusoid

TASKS: tuple[type[AbstractTasksWord], ...] = (Sinusoid, Glyphs, Omniglot)
