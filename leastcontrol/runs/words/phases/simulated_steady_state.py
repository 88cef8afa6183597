"""The word `simulated-steady-state`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ..simulation import AbstractNoisySimulation
from ._phase import AbstractPhaseWord

if TYPE_CHECKING:
    from ....feedback_control import AbstractPhase


@dataclasses.dataclass(frozen=True)
class SimulatedSteadyState(AbstractPhaseWord, AbstractNoisySimulation):
    """The end of a simulation."""

    word: ClassVar[str] = "simulated-steady-state"
    simulated: ClassVar[bool] = True

    def build(self, leak: float) -> "AbstractPhase":
        """Makes the phase."""
        from ....feedback_control import SimulatedSteadyState

        return SimulatedSteadyState(self.noisy_dynamics(leak), self.reach)

    def check(self, config: Any) -> None:
        """Checks the options of the noise."""
        self.check_noise(config)
