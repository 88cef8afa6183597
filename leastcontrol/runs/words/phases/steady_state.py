"""The word `steady-state`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..solving import AbstractSolveWithPolicy
from ._phase import AbstractPhaseWord

if TYPE_CHECKING:
    from ....feedback_control import AbstractPhase


@dataclasses.dataclass(frozen=True)
class SteadyState(AbstractPhaseWord, AbstractSolveWithPolicy):
    """The controlled rest point, solved for."""

    word: ClassVar[str] = "steady-state"

    def build(self, leak: float) -> "AbstractPhase":
        """Makes the phase."""
        from ....equilibrium import FixedPoint
        from ....feedback_control import SteadyState

        solver = self.fixed_point() or FixedPoint(max_steps=40)
        return SteadyState(leak, self.allowance(), solver, self.policy())
