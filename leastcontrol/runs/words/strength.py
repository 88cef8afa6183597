"""Options that words with a strength of control have in common."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from ..configuration import AbstractOptions
from ..options import NON_NEGATIVE, SHARE, ConfigError, flag, option, refuse, shown

if TYPE_CHECKING:
    from ...training import AbstractCourse

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


COURSES = {"cosine": "CosineCourse", "linear": "LinearCourse"}


@dataclasses.dataclass(frozen=True)
class AbstractOutputControlled(AbstractStrength):
    """A rule whose output is controlled."""

    strength: str | None = option(
        None,
        "Share of the loss that control is to remove, in the place of α; 0.05:0.9 from the first "
        "step to the last",
    )
    strength_course: str = option(
        "cosine", "How the share changes from the first step to the last", choices=COURSES
    )
    strength_samples: str = option(
        "alike",
        "Whether samples have one relative leak, or a smaller one the smaller their error is",
        choices=("alike", "by-error"),
    )

    output_control: str = option(
        "leaky-integral",
        "Output; at rest the two differ only in the meaning of α",
        choices=("leaky-integral", "proportional"),
    )

    def output_controller(self, config: Any) -> Any:
        """Makes the output controller."""
        from ...controllers import LeakyIntegral, Proportional, RelativeLeak

        course = self.course_of_strength()
        if course is not None:
            return RelativeLeak(
                float(course.first_kappa()), by_error=self.strength_samples == "by-error"
            )
        leak = self.leak(config)
        return (
            Proportional(1 / leak) if self.output_control == "proportional" else LeakyIntegral(leak)
        )

    def shares(self) -> tuple[float, float] | None:
        """Reads the shares at the first step and at the last; `None` if α sets the strength.

        **Raises:** `ConfigError` for what is no share, or no two of them.
        """
        if self.strength is None:
            return None
        first, colon, last = self.strength.partition(":")
        try:
            shares = float(first), float(last if colon else first)
        except ValueError:
            shares = (math.nan, math.nan)
        if not all(share in SHARE for share in shares):
            refuse(
                "strength",
                self.strength,
                "a share of the loss above 0 and below 1, or two with a colon between them",
                "0.5",
            )
        return shares

    def course_of_strength(self) -> "AbstractCourse | None":
        """Makes the course of the share; `None` if α sets the strength."""
        shares = self.shares()
        if shares is None:
            return None
        from ... import training

        return self.stands_for("strength_course", training)(*shares)

    def check_strength(self, config: Any) -> None:
        """Checks that the strength is given once, and is finite where it has to be.

        **Raises:** `ConfigError`.
        """
        if self.shares() is not None:
            self._check_share()
            return
        for name, default in (("strength_course", "cosine"), ("strength_samples", "alike")):
            given = getattr(self, name)
            if given != default:
                raise ConfigError(
                    f"{flag(name)} is {shown(given)}, but it has no effect without --strength: "
                    "add --strength 0.5, or leave it out."
                )
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

    def _check_share(self) -> None:
        """Checks that nothing else sets the strength, which `--strength` does."""
        if self.alpha != PAPER_LEAK or self.alpha_convention != "sample":
            raise ConfigError(
                f"--strength is {self.strength} and --alpha is {self.alpha:g}, but one of them "
                "sets the strength of control: leave the other out."
            )
        if self.output_control != "leaky-integral":
            raise ConfigError(
                f"--strength is {self.strength}, whose output control has a leak of its own, and "
                f"--output-control is {self.output_control}: leave it out."
            )
