"""Means and deviations of figures that may not be finite, or may be missing."""

import math
import statistics
from collections.abc import Iterable, Sequence


def number(value: object) -> float:
    """Returns a number of JSON's, which has `null` for one that is not finite.

    **Raises:** `TypeError` for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(value)
    return math.nan if value is None else float(value)


def mean(values: Iterable[float]) -> float:
    """Returns the mean of at least one value, which may not be finite."""
    values = list(values)
    return sum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Returns the standard deviation of at least two values, which may not be finite."""
    # `statistics` fails on values that are not finite.
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def mean_and_error(values: Sequence[float | int | None]) -> tuple[float | None, float | None]:
    """Returns the mean and its standard error s/√n; `None` where a value is missing, or n = 1."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values) or not known:
        return None, None
    error = statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None
    return statistics.fmean(known), error
