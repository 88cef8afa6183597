"""The word `linear-feedback`."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ...options import NON_NEGATIVE, at_least, option
from ..strength import PAPER_LEAK
from ._controller import AbstractControllerWord

if TYPE_CHECKING:
    from ....controllers import AbstractController


@dataclasses.dataclass(frozen=True)
class LinearFeedback(AbstractControllerWord):
    """Direct feedback weights that learn from noise."""

    word: ClassVar[str] = "linear-feedback"
    learned: ClassVar[bool] = True
    direct: ClassVar[bool] = True
    needs_leak: ClassVar[bool] = True

    noise_steps: int = option(
        100, "Steps of the simulation that feedback learns from", range=at_least(5)
    )
    noise_samples: int = option(
        8, "Number of samples of each batch that are simulated", range=at_least(1)
    )
    feedback_decay: float = option(
        1e-3, "Decay of the feedback weights in their gradient", range=NON_NEGATIVE
    )

    def build(self, leak: float) -> "AbstractController":
        """Makes the controller."""
        from ....controllers import LinearFeedback
        from ....equilibrium import NoiseRun

        # With a larger leak the output controller is as much slower as keeps τ_u/α, by which it
        # follows the noise, at what the paper's leak makes of it.
        noise = NoiseRun(
            steps=self.noise_steps,
            samples=self.noise_samples,
            output_time_constant=max(1.0, leak / PAPER_LEAK),
            decay=self.feedback_decay,
        )
        return LinearFeedback(self.allowance(), self.fixed_point(), noise)
