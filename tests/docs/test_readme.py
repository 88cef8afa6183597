"""Every command of the README runs, from top to bottom, with what `make train` installs."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Of these commands the test runs something else, for the reason that is said.
INSTEAD = {
    # The package index is not the README's to test; `make train` installs from the checkout.
    "pip install leastcontrol": None,
    # The environment is there already: what is left of the target is the training.
    "make train": "make train DEV_STAMP=README.md",
    # It would run this test, again and again.
    "make test": "make test DEV_STAMP=README.md --dry-run",
}
# Finds no module of a distribution that `make train` does not install.
BLOCKER = """\
import json, os, sys

class Blocker:
    names = frozenset(json.loads(os.environ["BLOCKED_MODULES"]))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"`make train` does not install {name}.", name=name)

sys.meta_path.insert(0, Blocker())
"""


def commands(page: str) -> list[str]:
    """The commands of all bash blocks of a page, without their comments."""
    lines = [line for block in BLOCK.findall(page) for line in block.splitlines()]
    return [line.partition("   #")[0].strip() for line in lines if line.strip()]


def installed_by(extra: str, requirements: dict[str, list[str]]) -> set[str]:
    """The names of the distributions that an extra of the project installs, with all they need."""
    installed: set[str] = set()
    waiting = [("leastcontrol", ""), ("leastcontrol", extra)]
    seen = set(waiting)
    while waiting:
        name, chosen = waiting.pop()
        installed.add(name)
        if name == "leastcontrol":
            needed = requirements[chosen]
        else:
            try:
                needed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
        for requirement in map(Requirement, needed):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": chosen}):
                for next_extra in ("", *requirement.extras):
                    pair = (canonicalize_name(requirement.name), next_extra)
                    if pair not in seen:
                        seen.add(pair)
                        waiting.append(pair)
    return installed


def blocked_modules() -> list[str]:
    """The modules of installed distributions that `make train` does not install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = {"": project["dependencies"], **project["optional-dependencies"]}
    kept = installed_by("train", requirements)
    return sorted(
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if not kept & {canonicalize_name(name) for name in names}
    )


def test_what_the_tests_alone_need_is_blocked():
    blocked = blocked_modules()
    assert {"pytest", "optuna", "selenium", "flax", "tensorboardX"} <= set(blocked)
    assert not {"jax", "numpy", "matplotlib", "sklearn", "rich", "tyro", "PIL"} & set(blocked)


def test_commands_are_read_without_their_comments():
    page = "```bash\nmake train   # sets up\n\nls '#'\n```\n```python\nx\n```\n```bash\npwd\n```\n"
    assert commands(page) == ["make train", "ls '#'", "pwd"]


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path: Path):
    clone = tmp_path / "clone"
    clone.mkdir()
    # Without the environment, caches, and what is built or trained there.
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name not in ("runs", "site"):
            shutil.copytree(path, clone / path.name)
        elif path.is_file():
            shutil.copy(path, clone)
    (clone / ".venv").symlink_to(sys.prefix)
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
    environment = {
        **os.environ,
        "BLOCKED_MODULES": json.dumps(blocked_modules()),
        "PYTHONPATH": os.pathsep.join([str(blocker), str(clone)]),
    }
    listed = commands((clone / "README.md").read_text(encoding="utf-8"))
    assert set(INSTEAD) <= set(listed)
    for command in listed:
        run = INSTEAD.get(command, command)
        if run is None:
            continue
        done = subprocess.run(
            ["bash", "-euc", run], cwd=clone, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{run}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, f"{run}\n{done.stderr[-2000:]}"
    assert (clone / "report.html").stat().st_size > 10_000
    # The committed figures are what the commands draw.
    for figure in re.findall(r"\((docs/figures/[\w-]+\.svg)\)", (clone / "README.md").read_text()):
        assert (clone / figure).read_bytes() == (ROOT / figure).read_bytes(), figure
