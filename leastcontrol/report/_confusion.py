"""The confusion matrix of a run as data; a template shows it, or a terminal."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ._runs import Confusion, Run

# Matrices of more classes fit on no page; of these the most frequent confusions are told.
MOST_CLASSES = 12
TOLD = 3
# Largest share of a cell's colour, in per cent, over which text can be read.
_DARKEST = 38


@dataclasses.dataclass(frozen=True)
class Shown:
    """The confusion matrix of a run as it is shown; without rows where it is too large."""

    run: str
    sentence: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def confusion(run: Run) -> Shown | None:
    """Makes what is shown of a run's answers; `None` if its summaries do not count them."""
    return None if run.confusion is None else answers(run.name, run.confusion)


def answers(run: str, counted: Confusion) -> Shown:
    """Makes what is shown of the answers of a run of some name."""
    classes = len(counted.counts)
    unsolved = any(counted.unsolved)
    headings = [str(number) for number in range(classes)] + (["unsolved"] if unsolved else [])
    fits = classes <= MOST_CLASSES
    return Shown(
        run,
        _sentence(counted),
        "Per cent of the test samples of a class (row) by the answer (column), over all seeds",
        tuple(headings),
        tuple(_row(counted, number, unsolved) for number in range(classes)) if fits else (),
    )


def _row(counted: Confusion, number: int, unsolved: bool) -> dict[str, Any]:
    counts = [*counted.counts[number], *([counted.unsolved[number]] if unsolved else [])]
    total = max(1, sum(counted.counts[number]) + counted.unsolved[number])
    cells = [
        {
            "text": _per_cent(count / total) if count else "·",
            # The diagonal is right, everything else is not.
            "colour": "--series-1" if answer == number else "--series-2",
            "share": round(_DARKEST * (count / total) ** 0.5) if count else 0,
        }
        for answer, count in enumerate(counts)
    ]
    return {"heading": str(number), "cells": cells}


def _per_cent(share: float) -> str:
    """Formats a share in at most three characters."""
    value = 100 * share
    return f"{value:.0f}" if value >= 0.95 else f"{max(value, 0.1):.1f}".lstrip("0")


def _sentence(counted: Confusion) -> str:
    """Tells the most frequent confusions."""
    wrong: Sequence[tuple[int, int, int]] = sorted(
        (
            (count, truth, answer)
            for truth, row in enumerate(counted.counts)
            for answer, count in enumerate(row)
            if answer != truth and count
        ),
        key=lambda each: (-each[0], each[1:]),
    )
    total = sum(map(sum, counted.counts)) + sum(counted.unsolved)
    missed = sum(count for count, _, _ in wrong) + sum(counted.unsolved)
    if not missed:
        return f"All {total} answers are right."
    most = "; ".join(
        f"{truth} taken for {answer} ({count})" for count, truth, answer in wrong[:TOLD]
    )
    without = sum(counted.unsolved)
    parts = [
        f"{missed} of {total} answers are wrong",
        *([f"{without} of them because no rest point was found"] if without else []),
    ]
    return f"{', '.join(parts)}" + (f"; most often {most}." if most else ".")
