"""Makes the tables of all pages: `make tables`, or `PYTHONPATH=docs python -m tables`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import (
    accuracy,
    bench,
    devices,
    meta,
    noise,
    pages,
    reasoner,
    recorded,
    regimes,
    represent,
    reproduction,
    scale,
    strength,
    tolerance,
)
from .description import Table, TablesError

ROOT = Path(__file__).resolve().parents[2]
TABLES = [
    table
    for group in (
        accuracy,
        bench,
        devices,
        meta,
        noise,
        reasoner,
        regimes,
        represent,
        reproduction,
        scale,
        strength,
        tolerance,
    )
    for table in group.TABLES
]


def main(
    arguments: Sequence[str] | None = None, root: Path = ROOT, tables: Sequence[Table] = TABLES
) -> int:
    """Makes the tables of a checkout and returns the exit status.

    It is 1 for a stale page found by `--check`, and 2 for a mistake.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tables", description="Make the tables of all pages from results/."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args(arguments).check
    try:
        changed = {**pages.stale(root, tables), **recorded.stale(root)}
        if not check:
            pages.write(changed)
    except TablesError as error:
        print(f"leastcontrol: {error}", file=sys.stderr)
        return 2
    for path in changed:
        print(f"{path} {'is stale' if check else 'was rewritten'}.", file=sys.stderr)
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
