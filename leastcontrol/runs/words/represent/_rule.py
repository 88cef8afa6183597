"""What the words of `represent`'s `--rule` have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING

from ...configuration import AbstractWord
from ...options import SHARE, at_least, option
from ..solving import AbstractPolicy, unsolved_option

if TYPE_CHECKING:
    from ....equilibrium import Tolerance
    from ....rules import AbstractRule


@dataclasses.dataclass(frozen=True)
class AbstractRepresentRule(AbstractWord, AbstractPolicy):
    """What changes the weights of a picture's network."""

    tolerance: float = option(
        1e-4, "Largest relative residual; relative to the control or the state", range=SHARE
    )
    max_steps: int = option(50, "Budget of a solve, in steps", range=at_least(1))
    # As in the paper.
    unsolved: str = unsolved_option("keep")

    @abc.abstractmethod
    def build(self) -> "AbstractRule":
        """Makes the rule, for the squared error of a pixel."""

    def allowance(self) -> "Tolerance":
        """Makes the tolerance of a solve."""
        from ....equilibrium import Tolerance

        return Tolerance(relative=self.tolerance)
