"""`leastcontrol verify`."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from .._console import say
from ._verb import AbstractPlainVerb, check_file, write_result


@dataclasses.dataclass(frozen=True)
class Verify(AbstractPlainVerb):
    """Check the method's properties on random systems, and replay reference vectors."""

    verb: ClassVar[str] = "verify"

    vectors: tuple[Path, ...] = ()
    """Files or folders of reference vectors."""
    json: Path | None = None
    """File for the list of checks."""

    def check(self) -> None:
        """Checks the file for the list."""
        check_file("json", self.json)

    def run(self, command: str) -> int:
        """Runs the checks, and prints each as soon as it is made."""
        from ...verify.properties import verify

        del command
        rows = verify(self.vectors, report=_print)
        write_result(self.json, rows)
        failed = sum(row["ok"] is False for row in rows)
        unsupported = sum(row["ok"] is None for row in rows)
        say(
            f"{len(rows) - failed - unsupported} passed, {failed} failed, {unsupported} unsupported"
        )
        return 1 if failed else 0


def _print(row: dict[str, Any]) -> None:
    if row["error"] is None:
        say(f"{row['status']:<12}{row['name']}: {row['detail']}")
    else:
        say(f"{row['status']:<12}{row['name']}: {row['error']:.1e}, at most {row['tolerance']:.1e}")
