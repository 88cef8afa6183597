"""The row of one check: what was compared, how far apart it was, how far it may be."""

import math
from typing import Any

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
