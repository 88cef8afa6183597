"""The words of `--tasks`."""

from ....options import words_in
from ._tasks import AbstractTasksWord as AbstractTasksWord
from ._tasks import Parts as Parts

TASKS: tuple[type[AbstractTasksWord], ...] = words_in(
    __name__,
    "sinusoid",
    "glyphs",
    "omniglot",
)
