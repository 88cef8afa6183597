"""The table of the reduced reproductions in the documentation, made from what a command wrote.

    python -m tables.reproduction           # rewrites it where it stands
    python -m tables.reproduction --check   # exits with 1 if it would

A row is an experiment of `results/reproduce-quick.json`, which `leastcontrol reproduce --all
--quick --results FILE` wrote.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .accuracy import TablesError, read_result, rewrite, script, with_commands

PAGE = Path("docs/reproduce.md")
FILE = "reproduce-quick.json"


def read(path: Path) -> dict[str, Any]:
    """Returns what a reproduction has shown.

    **Raises:** `TablesError` for a file that is damaged or of another kind.
    """
    values = read_result(path)
    try:
        for own in values["experiments"]:
            float(own["seconds"])
            all(verdict["failed"] for verdict in own["verdicts"])
        str(values["command"])
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError(
            f"{path} does not hold the verdicts of reproductions: give a file that "
            "`leastcontrol reproduce --all --quick --results FILE` wrote."
        ) from error
    return values


def table(values: dict[str, Any]) -> str:
    """Returns the table of the experiments as Markdown, with the command below."""
    lines = ["| name | figures with a verdict | failed | minutes |", "|---|---:|---:|---:|"]
    judged = failures = 0
    seconds = 0.0
    for own in values["experiments"]:
        failed = sum(verdict["failed"] for verdict in own["verdicts"])
        known = len(own["verdicts"]) - failed
        lines.append(_line(f"`{own['experiment']}`", known, failed, own["seconds"]))
        judged, failures, seconds = judged + known, failures + failed, seconds + own["seconds"]
    lines.append(_line("all together", judged, failures, seconds))
    return with_commands(lines, [values["command"]])


def _line(name: str, judged: int, failed: int, seconds: float) -> str:
    return f"| {name} | {judged} | {failed} | {seconds / 60:.1f} |"


def update(root: Path, results: Path, *, check: bool = False) -> list[Path]:
    """Rewrites the table in the page under `root` and returns it if it changed.

    With `check` nothing is written.

    **Raises:** `TablesError`. Nothing is written unless the file could be read.
    """
    content = table(read(results / FILE))
    return rewrite(root, [(PAGE, "reproduce-quick", content)], check=check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status: 1 for a stale table, 2 for a mistake."""
    description = "Make the table of the reduced reproductions from what their command wrote."
    return script(arguments, update, "reproduction", description)


if __name__ == "__main__":
    sys.exit(main())
