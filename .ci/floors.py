#!/usr/bin/env python3
"""Tries the oldest releases that pyproject.toml allows: installs exactly these, and uses them.

    make floors

The environment is made for this and removed. The README's example runs in it, then the commands
that a first reader gives. The oldest releases have wheels for the oldest Pythons alone, so that one
of these is needed; where there is none, nothing is tried, and that is said.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRA = "train"
INTERPRETERS = ("python3.11", "python3.12")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,.-]+)\])?(?:>=(?P<floor>[\w.]+))?")


def floors(project: dict, extra: str) -> dict[str, str]:
    """Returns the oldest release of everything that a project needs with one of its extras.

    **Raises:** `ValueError` for a requirement that names no oldest release.
    """
    found = {}
    waiting = [*project["dependencies"], f"{project['name']}[{extra}]"]
    while waiting:
        requirement = waiting.pop()
        match = REQUIREMENT.fullmatch(requirement)
        if match and match["name"] == project["name"]:
            for own in match["extras"].split(","):
                waiting += project["optional-dependencies"][own]
        elif match and match["floor"]:
            found[match["name"]] = match["floor"]
        else:
            raise ValueError(f"{requirement} names no oldest release: write {requirement}>=1.0.")
    return dict(sorted(found.items()))


def interpreter() -> str | None:
    """Returns the first of the oldest Pythons that runs."""
    for name in INTERPRETERS:
        try:
            # A name on the PATH may be a launcher with nothing behind it.
            if subprocess.run([name, "-c", ""], capture_output=True).returncode == 0:
                return name
        except OSError:
            continue
    return None


def example() -> str:
    """Returns the Python blocks of the README, one after another."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


def main() -> None:
    """Installs the oldest releases and uses them."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = floors(content["project"], EXTRA)
    python = interpreter()
    if python is None:
        print(f"None of {', '.join(INTERPRETERS)} runs here: the oldest releases are not tried.")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        constraints = folder / "constraints.txt"
        lines = [f"{package}=={release}\n" for package, release in oldest.items()]
        constraints.write_text("".join(lines), encoding="utf-8")
        print(f"With {python}:", *(own.strip() for own in lines), flush=True)

        def call(*words: str) -> None:
            # Nothing of the checkout is imported from the folder in which it runs.
            subprocess.run(words, check=True, cwd=folder)

        call(python, "-m", "venv", "env")
        programs = folder / "env" / "bin"
        pip = (str(programs / "python"), "-m", "pip", "--disable-pip-version-check")
        call(*pip, "install", "--quiet", "-c", str(constraints), f"{ROOT}[{EXTRA}]")
        call(str(programs / "python"), "-W", "error", "-c", example())
        leastcontrol = str(programs / "leastcontrol")
        call(leastcontrol, "--version")
        call(leastcontrol, "--help")
        call(leastcontrol, *"train --hidden 8 --epochs 2 --out run".split())
        call(leastcontrol, *"evaluate run".split())
        call(leastcontrol, *"report run".split())


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}: the oldest releases do not do, so raise one in pyproject.toml.")
