"""What a benchmark writes beside its figures."""

import shlex
import sys
from pathlib import Path

from leastcontrol.runs.origin import commit, versions


def origin() -> dict[str, object]:
    """Returns the command that is running, the commit and the versions of what its figures need."""
    command = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    return {"command": shlex.join(command), "commit": commit(), "versions": versions()}
