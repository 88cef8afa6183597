"""Words of older versions, whose folders and models are still read."""

import re
from typing import Any

RENAMED = {
    "softness": "label_smoothing",
    "accumulate": "accumulation_steps",
    "pull": "proximal_strength",
    "pull_learning": "proximal_learning",
}


# Options that were added to configurations of this format, with the value that runs before had. An
# identity holds them only where they differ, so that older files still agree with it.
ADDED = {"strength": None, "strength_course": "cosine", "strength_samples": "alike"}


def renewed(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options with the names of today, without those that had no value.

    An option without a value had its default, which then stood in no file.
    """
    return {RENAMED.get(name, name): value for name, value in options.items() if value is not None}


def renewed_command(command: str) -> str:
    """Returns a command with the names of today."""
    for old, new in RENAMED.items():
        old, new = (name.replace("_", "-") for name in (old, new))
        command = re.sub(rf"--{old}(?= |$)", f"--{new}", command)
    return command
