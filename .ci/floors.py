"""Installs the oldest versions that pyproject.toml declares, and tries the library on them.

    python .ci/floors.py    # about two minutes

The floors are read from pyproject.toml: a requirement NAME>=VERSION becomes the constraint
NAME==VERSION. What others of them refuse at their floors fails here, and not at a user's. Then the
README's first Python block runs, and a small training from the command line.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("cli", "plot", "train")


def floors() -> list[str]:
    """Returns a constraint for every requirement of the library and of what `make train` needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(own for name in EXTRAS for own in optional[name])]
    found = [re.fullmatch(r"([\w-]+)>=([\w.]+)", own) for own in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match]


def example() -> str:
    """Returns the README's first Python block."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def main() -> None:
    """Installs the floors into an environment of their own, and tries them."""
    with tempfile.TemporaryDirectory(prefix="leastcontrol-floors-") as temporary:
        folder = Path(temporary)
        (folder / "floors.txt").write_text("\n".join(floors()) + "\n", encoding="utf-8")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")

        def run(*arguments: str) -> None:
            subprocess.run([python, *arguments], check=True, cwd=folder)

        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--constraint", "floors.txt", f"{ROOT}[train]")
        run("-c", example())
        run("-m", "leastcontrol.cli", "--version")
        options = "--hidden 16 --epochs 1 --batch-size 256 --out run"
        run("-m", "leastcontrol.cli", "train", *options.split())
        run("-m", "leastcontrol.cli", "report", "run", "--out", "page.html")
        print(f"The floors work: {', '.join(floors())}.")


if __name__ == "__main__":
    sys.exit(main())
