"""What the words of `--controller` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...configuration import AbstractWord
from ..solving import AbstractSolve

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class AbstractControllerWord(AbstractWord, AbstractSolve):
    """Where the control comes from.

    * `learned`: whether it has feedback weights that learn.
    * `iterates`: whether it iterates, and so may start where it ended an epoch before.
    * `direct`: whether its feedback goes straight from the output to every neuron.
    * `needs_leak`: whether its constants follow from one leak for all samples.
    """

    learned: ClassVar[bool] = False
    iterates: ClassVar[bool] = True
    direct: ClassVar[bool] = False
    needs_leak: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, leak: float) -> "AbstractController":
        """Makes the controller; `leak` is that of one sample's output control."""
