"""Options that words with a strength of control have in common."""

import dataclasses
from typing import Any

from ..configuration import AbstractOptions
from ..options import NON_NEGATIVE, ConfigError, option

# The paper's α = 0.1 for the mean of a batch of 64.
PAPER_LEAK = 6.4


@dataclasses.dataclass(frozen=True)
class AbstractStrength(AbstractOptions):
    """A control, or a nudge, of the strength 1/α."""

    alpha: float = option(
        PAPER_LEAK, "Leak α; the strength of control, or of a nudge, is 1/α", range=NON_NEGATIVE
    )
    alpha_convention: str = option(
        "sample",
        "Whose loss α refers to; batch-mean is the convention of the paper's code",
        choices=("sample", "batch-mean"),
    )

    def leak(self, config: Any) -> float:
        """Returns the leak for one sample's loss."""
        from ...controllers import batch_mean_leak

        if self.alpha_convention == "sample":
            return self.alpha
        return batch_mean_leak(self.alpha, config.optimiser.batch_size)


@dataclasses.dataclass(frozen=True)
class AbstractOutputControlled(AbstractStrength):
    """A rule whose output is controlled."""

    output_control: str = option(
        "leaky-integral",
        "Output; at rest the two differ only in the meaning of α",
        choices=("leaky-integral", "proportional"),
    )

    def output_controller(self, config: Any) -> Any:
        """Makes the output controller."""
        from ...controllers import LeakyIntegral, Proportional

        leak = self.leak(config)
        return (
            Proportional(1 / leak) if self.output_control == "proportional" else LeakyIntegral(leak)
        )

    def check_strength(self, config: Any) -> None:
        """Checks that the strength of control is finite where it has to be.

        **Raises:** `ConfigError`.
        """
        if self.alpha > 0:
            return
        if not config.data.regression and config.data.label_smoothing == 0:
            raise ConfigError(
                "--alpha is 0 and the targets are hard, which asks for infinite control: write "
                "--label-smoothing 0.01, or an --alpha above 0."
            )
        if self.output_control == "proportional":
            raise ConfigError(
                "--alpha is 0, but proportional control has the strength 1/α: write "
                "--output-control leaky-integral, or an --alpha above 0."
            )
