"""The rows of checks: what was compared, the error, and its tolerance."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Row = dict[str, Any]


def judged(
    name: str,
    error: float,
    tolerance: float,
    detail: str,
    *,
    unsolved: int = 0,
) -> Row:
    """Makes the row of a completed check.

    If the error is not finite, or some samples were not solved, the check fails and the row omits
    the error, because it is meaningless.

    **Arguments:**

    * `name`: name of the check.
    * `detail`: a sentence that says what was compared.
    * `error`, `tolerance`: the check passes if the first is at most the second.
    * `unsolved`: number of samples that were not solved.
    """
    if unsolved:
        detail = f"{detail[:-1]}: {unsolved} of the rest points were not found."
    elif not math.isfinite(error):
        detail = f"{detail[:-1]}: the error is not a finite number."
    meaningful = not unsolved and math.isfinite(error)
    ok = meaningful and error <= tolerance
    return {
        "name": name,
        "error": float(error) if meaningful else None,
        "tolerance": tolerance,
        "ok": ok,
        "status": "passed" if ok else "failed",
        "detail": detail,
    }


def unsupported(name: str, detail: str) -> Row:
    """Makes the row of an unsupported check; `detail` gives the reason."""
    return {
        "name": name,
        "error": None,
        "tolerance": None,
        "ok": None,
        "status": "unsupported",
        "detail": detail,
    }


def results_of(arrays: Mapping[str, np.ndarray], given: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Selects the results of a vector: all but x, y and the names that begin with `given`."""
    return {
        name: array
        for name, array in arrays.items()
        if name not in ("x", "y") and not name.startswith(given)
    }


def compared(
    vector: str,
    theirs: Mapping[str, np.ndarray],
    ours: Mapping[str, Any],
    tolerance: float,
    road: str,
    *,
    unsolved: int = 0,
) -> Iterator[Row]:
    """Compares the results of a vector with ours, and yields a row for each.

    The error is the distance relative to the norm of theirs, or absolute if theirs is zero. `road`
    names the method of our results in the row.
    """
    for name, array in theirs.items():
        row = f"{vector}/{name}"
        if name not in ours:
            yield unsupported(row, f"The library cannot replay an array {name!r}.")
            continue
        size = float(np.linalg.norm(array))
        distance = float(np.linalg.norm(np.asarray(ours[name]) - array))
        yield judged(
            row,
            distance / size if size > 0 else distance,
            tolerance,
            f"The relative distance of {name} by {road} to the reference.",
            unsolved=unsolved,
        )
