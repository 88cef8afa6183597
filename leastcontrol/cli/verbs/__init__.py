"""The verbs of the command line: one file for each, which parses, checks, runs and prints.

The list below is the one place where a verb is entered. Its modules are small and import nothing
heavy, so that help and mistakes are answered at once.
"""

from ._verb import AbstractVerb as AbstractVerb
from .bench import Bench
from .compare import Compare
from .data import Data
from .device import Device
from .evaluate import Evaluate
from .export import Export
from .meta import Meta
from .predict import Predict
from .report import Report
from .represent import Represent
from .reproduce import Reproduce
from .sweep import Sweep
from .train import Train
from .verify import Verify

VERBS: tuple[type[AbstractVerb], ...] = (
    Train,
    Meta,
    Represent,
    Device,
    Evaluate,
    Compare,
    Sweep,
    Reproduce,
    Export,
    Predict,
    Report,
    Verify,
    Bench,
    Data,
)
