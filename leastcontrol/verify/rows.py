"""The row of one check: what was compared, how far apart it was, how far it may be."""

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
    """Returns the row of a check that was made.

    An error that is not finite, or was measured where samples were not solved, says nothing: it is
    left out, and the check has failed.

    **Arguments:**

    * `name`: of the check. `detail`: one sentence on what was compared.
    * `error`, `tolerance`: the check has passed if the first is at most the second.
    * `unsolved`: how many rest points behind the error were not found.
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
    """Returns the row of a check that could not be made, for the reason in `detail`."""
    return {
        "name": name,
        "error": None,
        "tolerance": None,
        "ok": None,
        "status": "unsupported",
        "detail": detail,
    }


def results_of(arrays: Mapping[str, np.ndarray], given: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns the arrays of a vector that are results: not x, y, or what begins as `given` does."""
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
    """Yields a row for each of a vector's results: its distance from ours, relative to its size.

    Where theirs is zero, the distance is absolute. `road` says in the row how ours were found.
    """
    for name, array in theirs.items():
        row = f"{vector}/{name}"
        if name not in ours:
            yield unsupported(row, f"An array {name!r} is not one that is replayed.")
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
