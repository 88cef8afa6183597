"""The package as it is installed: what an import reaches, its version, its types, its rooms."""

import importlib
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import leastcontrol

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

OPTIONAL = (
    "flax",
    "jinja2",
    "matplotlib",
    "optuna",
    "orbax",
    "pooch",
    "rich",
    "safetensors",
    "sklearn",
    "sqlalchemy",
    "tensorboardX",
    "tyro",
)
ABOVE_THE_FACE = tuple(
    f"leastcontrol.{room}"
    for room in (
        "data",
        "training",
        "monitor",
        "runs",
        "papers",
        "verify",
        "bench",
        "report",
        "cli",
    )
)


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Return all modules that the names of `leastcontrol` bring into an interpreter."""
    code = "import sys; from leastcontrol import *; print(*sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return set(run.stdout.split())


def test_every_name_is_that_of_its_room():
    listed = leastcontrol.__all__
    assert len(listed) == len(set(listed)) > 60
    assert {"LeastControl", "Feedforward", "CrossEntropy", "solved", "Batch"} <= set(listed)
    for name in listed:
        value = getattr(leastcontrol, name)
        room = vars(leastcontrol)["_rooms"]()[name]
        assert value is getattr(importlib.import_module(f"leastcontrol.{room}"), name)


@pytest.mark.parametrize("space", ["data", "diagnostics", "feedback_control", "meta", "rules"])
def test_a_space_is_reached_from_the_root(space: str):
    code = f"import leastcontrol as lc; print(lc.{space}.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == f"leastcontrol.{space}\n", run.stderr


def test_a_name_of_a_subject_is_no_name_of_the_root():
    for name in ("MAML", "DeepFeedbackControl", "Strong", "Dynamics", "gradient_trust", "nothing"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(leastcontrol, name)


def test_the_import_was_seen(imported: set[str]):
    assert "leastcontrol.rules" in imported


@pytest.mark.parametrize("name", [*OPTIONAL, *ABOVE_THE_FACE])
def test_an_import_does_not_reach(name: str, imported: set[str]):
    assert name not in imported


def test_the_installed_version_is_the_declared_one():
    assert metadata.version("leastcontrol") == PROJECT["version"]


def test_the_changelog_knows_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {PROJECT['version']}" in changelog


def test_the_citation_names_the_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation


def test_the_package_is_typed():
    assert resources.files("leastcontrol").joinpath("py.typed").is_file()


def test_no_dependency_has_a_cap():
    requirements = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        requirements += extra
    capped = [line for line in requirements if any(mark in line for mark in ("<", "==", "~="))]
    assert capped == []


def test_the_rooms_keep_their_order():
    script = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [str(script), "--no-logo", "--no-cache"], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr
