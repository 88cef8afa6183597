"""The word `analytic-steady-state`."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ...options import ConfigError
from ._phase import AbstractPhaseWord

if TYPE_CHECKING:
    from ....feedback_control import AbstractPhase


@dataclasses.dataclass(frozen=True)
class AnalyticSteadyState(AbstractPhaseWord):
    """The controlled rest point to first order in the error."""

    word: ClassVar[str] = "analytic-steady-state"

    def build(self, leak: float) -> "AbstractPhase":
        """Makes the phase."""
        from ....feedback_control import AnalyticSteadyState

        return AnalyticSteadyState(leak)

    def check(self, config: Any) -> None:
        """Checks that the error is small."""
        teaching = config.rule.teaching.word
        if teaching != "nudged":
            raise ConfigError(
                f"--phase analytic-steady-state is to first order in the error, and --teaching is "
                f"{teaching}: write --teaching nudged, or --phase steady-state."
            )
