"""Paired differences between two arms, and what may be said of them.

The rule was written down before anything was measured. Of one regime all differences to the better
backpropagation are one family. A difference **helps** if it is above 0 and its two-sided t-test
stays significant at 5 % after Holm's correction for the family. It **does not** if it does not help
and the upper end of its 95 % interval lies below the smallest difference that matters. Else it
**cannot be told**.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence

LEVEL = 0.05
HELPS = "helps"
DOES_NOT = "does not"
UNCLEAR = "cannot be told"


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of paired differences with its standard error; positive where the arm is better.

    * `pairs`: how many seeds there are, at least two.
    """

    mean: float
    error: float
    pairs: int

    @staticmethod
    def paired(first: Sequence[float], second: Sequence[float], sign: int = 1) -> "Difference":
        """Subtracts the second values from the first, seed by seed; reversed for a sign of −1."""
        differences = [sign * (a - b) for a, b in zip(first, second, strict=True)]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        return Difference(statistics.fmean(differences), error, len(differences))

    @property
    def probability(self) -> float:
        """The two-sided p-value of the t-test against 0."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.pairs - 1, -abs(self.mean / self.error)))

    @property
    def upper(self) -> float:
        """The upper end of the 95 % interval."""
        from scipy.special import stdtrit

        return self.mean + float(stdtrit(self.pairs - 1, 1 - LEVEL / 2)) * self.error


def significant(probabilities: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Says which hypotheses of a family Holm's procedure rejects.

    The p-values are taken in ascending order, and p_(k) of m is compared with level/(m + 1 − k)
    until one is larger.
    """
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    rejected = [False] * len(probabilities)
    for rank, place in enumerate(order):
        if probabilities[place] > level / (len(probabilities) - rank):
            break
        rejected[place] = True
    return rejected


def judged(family: Sequence[tuple[Difference, float]]) -> list[str]:
    """Judges the differences of a family, each given with the smallest one that matters."""
    clear = significant([difference.probability for difference, _ in family])
    return [
        _judged(difference, matters, rejected)
        for (difference, matters), rejected in zip(family, clear, strict=True)
    ]


def _judged(difference: Difference, matters: float, rejected: bool) -> str:
    if rejected and difference.mean > 0:
        return HELPS
    return DOES_NOT if difference.upper < matters else UNCLEAR
