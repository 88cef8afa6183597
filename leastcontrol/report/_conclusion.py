"""What a report says in sentences, computed from its runs.

It says which run or rule is better, by how much and with which standard error; what was not
finished or not solved; and how strong the control was. A difference is called one if it is more
than `CLEAR` of its standard errors.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from .._names import is_finite, strength_shown
from ._runs import Comparison, Run, Trial
from ._tables import figure_of, finished_summaries, mean_and_deviation

CLEAR = 2.0
# Share of the loss below which control is called weak.
WEAK = 0.05
# Name in the summary, words for it, unit, scale, digits, and whether more is better.
MEASURES = (
    ("test_accuracy", "test accuracy", "percentage points", 100.0, 2, True),
    ("test_mean_squared_error", "test squared error", "", 1.0, 5, False),
)
Measure = tuple[str, str, str, float, int, bool]


def conclusion(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[str]:
    """Computes the sentences on runs and comparisons, the most important one first."""
    sentences = [
        sentence
        for comparison in comparisons
        for difference in comparison.differences
        for sentence in _paired(difference)
    ]
    if not sentences:
        sentences = _ranked(runs)
    if not sentences:
        sentences = ["No run has a figure of its test samples yet."]
    return [*sentences, *_unfinished(runs), *_unsolved(runs), *_strengths(runs)]


def _paired(difference: dict[str, Any]) -> list[str]:
    """Says how two rules differ by their paired trials."""
    rule, less, system = (str(difference.get(name)) for name in ("rule", "less", "system"))
    for measure in MEASURES:
        figures = difference.get(measure[0])
        if not isinstance(figures, dict) or not is_finite(figures.get("mean")):
            continue
        over = f"standard error over {figures.get('pairs')} pairs of seeds"
        error = figures.get("standard_error")
        return [f"On {system}, {_difference(rule, less, figures['mean'], error, measure, over)}"]
    return []


def _ranked(runs: Sequence[Run]) -> list[str]:
    """Says which run is the best one of those on the same data, and by how much."""
    sentences = []
    for data in dict.fromkeys(str(run.config.get("data")) for run in runs):
        group = [run for run in runs if str(run.config.get("data")) == data]
        for measure in MEASURES:
            levels = []
            for run in group:
                mean, deviation = mean_and_deviation(run, measure[0])
                if mean is not None:
                    levels.append(_Level(run, mean, deviation))
            if levels:
                levels.sort(key=lambda level: level.mean, reverse=measure[5])
                sentences.append(_best(levels, measure))
    return sentences


@dataclasses.dataclass(frozen=True)
class _Level:
    """A run with the mean of its measure over the seeds, and the standard deviation."""

    run: Run
    mean: float
    deviation: float | None

    @property
    def seeds(self) -> int:
        return len(finished_summaries(self.run))

    def variance_of_mean(self) -> float:
        return math.nan if self.deviation is None else self.deviation**2 / self.seeds


def _best(levels: Sequence[_Level], measure: Measure) -> str:
    _, words, unit, scale, digits, _ = measure
    first, *others = levels
    spread = "" if first.deviation is None else f" ± {scale * first.deviation:.{digits}f}"
    level = f"{scale * first.mean:.{digits}f}{spread} {'%' if unit else ''}".rstrip()
    if not others:
        over = f"mean over {first.seeds} seeds" if first.seeds > 1 else "one seed"
        return f"{first.run.label} reaches a {words} of {level} ({over})."
    second = others[0]
    error = math.sqrt(first.variance_of_mean() + second.variance_of_mean())
    difference = first.mean - second.mean
    labels = first.run.label, second.run.label
    between = _difference(*labels, difference, error, measure, "standard error of the means")
    return f"Best of {len(levels)} runs in {words}, with {level}: {between}"


def _difference(one: str, other: str, mean: float, error: Any, measure: Measure, over: str) -> str:
    _, words, unit, scale, digits, rising = measure
    size = f"{scale * abs(mean):.{digits}f}"
    if mean == 0:
        return f"{one} and {other} have the same {words}."
    better = "better" if (mean > 0) == rising else "worse"
    if not is_finite(error):
        amount = f"{size} {unit}".rstrip()
        return (
            f"{one} is {amount} {better} than {other} in {words}, with too few seeds for a "
            "standard error."
        )
    amount = f"{size} ± {scale * error:.{digits}f} {unit}".rstrip()
    clear = abs(mean) > CLEAR * error
    verdict = "" if clear else f", less than {CLEAR:g} standard errors: no clear difference"
    return f"{one} is {amount} {better} than {other} in {words} ({over}){verdict}."


def _unfinished(runs: Sequence[Run]) -> list[str]:
    parts = [
        f"{run.label} ({len(finished_summaries(run))} of {run.seeds} seeds)"
        for run in runs
        if len(finished_summaries(run)) < run.seeds
    ]
    return [f"Not finished: {'; '.join(parts)}."] if parts else []


def _unsolved(runs: Sequence[Run]) -> list[str]:
    """Says which share of the solves found no rest point, in training and of test samples."""
    parts, trained = [], False
    for run in runs:
        solved = _mean([share for trial in run.trials for share in _solved(trial)])
        test = [figure_of(each, "test_converged_fraction") for each in finished_summaries(run)]
        for share, what in ((solved, "solves in training"), (_mean(test), "test samples")):
            if share is not None and share < 1:
                parts.append(f"{_percent(1 - share)} of the {what} of {run.label}")
        trained = trained or solved is not None
    if parts:
        return [f"Not solved: {'; '.join(parts)}."]
    return ["Every solve of every epoch found its rest point."] if trained else []


def _solved(trial: Trial) -> list[float]:
    return trial.epochs["converged_fraction"]


def _strengths(runs: Sequence[Run]) -> list[str]:
    """Says which share of the loss without control the control of each run removed."""
    parts = []
    for run in runs:
        mean, _ = mean_and_deviation(run, "strength.removed_mean")
        if mean is None:
            continue
        end, _ = mean_and_deviation(run, "strength.removed_end")
        at_end = "" if end is None else f", {100 * end:.1f} % in the last epoch"
        weak = ", weak" if mean < WEAK else ""
        set_by = strength_shown(run.strength)
        parts.append(f"{100 * mean:.1f} % in {run.label} ({set_by}{at_end}{weak})")
    if not parts:
        return []
    return [f"Share of the loss that control removed at rest: {'; '.join(parts)}."]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _mean(values: Sequence[Any]) -> float | None:
    return sum(values) / len(values) if values and all(map(is_finite, values)) else None
