"""Where a result comes from."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


def origin(command: str | None) -> dict[str, Any]:
    """Returns the command, the commit and the versions that a result depends on."""
    return {"command": command, "commit": commit(), "versions": versions()}


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result may depend on."""
    packages = ("leastcontrol", "jax", "jaxlib", "equinox", "optimistix", "optax", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def commit() -> str | None:
    """Returns the commit of the checkout that the package is run from; `None` outside of one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
