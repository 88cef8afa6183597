"""The words of `--teaching`."""

from ...options import words_in
from ._teaching import AbstractTeachingWord as AbstractTeachingWord

TEACHING: tuple[type[AbstractTeachingWord], ...] = words_in(
    __name__,
    "nudged",
    "strong",
    "label_difference",
)
