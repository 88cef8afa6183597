"""The word `continuous`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import option
from ..simulation import AbstractNoisySimulation
from ._phase import AbstractPhaseWord

if TYPE_CHECKING:
    from ....feedback_control import AbstractPhase


@dataclasses.dataclass(frozen=True)
class Continuous(AbstractPhaseWord, AbstractNoisySimulation):
    """A simulation in which weights learn at all times."""

    word: ClassVar[str] = "continuous"
    simulated: ClassVar[bool] = True

    update_start: int = option(
        0, "Time point from which weights learn; what was before is the way to the target"
    )

    def build(self, leak: float) -> "AbstractPhase":
        """Makes the phase."""
        from ....feedback_control import Continuous

        return Continuous(self.noisy_dynamics(leak), self.reach, self.update_start)

    def check(self, config: Any) -> None:
        """Checks the options of the noise."""
        self.check_noise(config)
