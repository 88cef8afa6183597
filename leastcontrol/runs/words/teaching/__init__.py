"""The words of `--teaching`."""

from ._teaching import AbstractTeachingWord as AbstractTeachingWord
from .label_difference import LabelDifference
from .nudged import Nudged
from .strong import Strong

TEACHING: tuple[type[AbstractTeachingWord], ...] = (Nudged, Strong, LabelDifference)
