"""The words of `--system`."""

from ._system import AbstractSystemWord as AbstractSystemWord
from .convolutional import Convolutional
from .deep_equilibrium import DeepEquilibrium
from .feedforward import Feedforward
from .residual import Residual
from .rnn import RecurrentNetwork

SYSTEMS: tuple[type[AbstractSystemWord], ...] = (
    Feedforward,
    RecurrentNetwork,
    Convolutional,
    Residual,
    DeepEquilibrium,
)
