"""The parts of docs/style.md that a program can check, in the rooms that follow it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "leastcontrol"
# Add a room here once its names and docstrings follow docs/style.md.
ROOMS = (
    "_names",
    "files",
    "systems",
    "losses",
    "equilibrium",
    "controllers",
    "diagnostics",
    "devices",
    "data",
    "verify",
    "monitor",
    "report",
    "rules",
    "training",
    "cli",
    "papers",
    "bench",
    "runs",
)
OTHER_FOLDERS = ("benchmarks", "docs", "examples", "tests")
EMPTY_NAMES = {"own", "told", "found"}
LARGEST_SHARE_OF_RETURNS = 0.5


def nodes(place: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yields the nodes of the code of a folder or a module, each with its file and line."""
    for path in sorted(place.rglob("*.py")) or [place.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def defined_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
    return []


def is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) == "property" for decorator in node.decorator_list)


def summaries(room: str) -> list[tuple[str, str]]:
    """Lists place and docstring of every documented function of a room that is no property."""
    return [
        (place, docstring)
        for place, node in nodes(PACKAGE / room)
        if isinstance(node, ast.FunctionDef) and not is_property(node)
        if (docstring := ast.get_docstring(node))
    ]


@pytest.mark.parametrize(
    "folder", [*(PACKAGE / room for room in ROOMS), *(ROOT / name for name in OTHER_FOLDERS)]
)
def test_names_say_what_they_are(folder: Path):
    empty = [
        f"{place}: {name}"
        for place, node in nodes(folder)
        for name in defined_names(node)
        if name in EMPTY_NAMES
    ]
    assert empty == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_s_docstring_begins_with_a_verb(room: str):
    documented = summaries(room)
    assert documented
    without = [
        f"{place}: {docstring.splitlines()[0]}"
        for place, docstring in documented
        if not (docstring[0].isupper() and docstring.split()[0].isalpha())
        or not docstring.split()[0].endswith("s")
    ]
    assert without == []


@pytest.mark.parametrize("room", ROOMS)
def test_most_docstrings_say_more_than_returns(room: str):
    verbs = [docstring.split()[0] for _, docstring in summaries(room)]
    assert verbs.count("Returns") <= LARGEST_SHARE_OF_RETURNS * len(verbs)


def test_an_empty_name_is_seen_wherever_it_is_defined():
    code = (
        "own = 1\nfor own in (): pass\ndef f(own): pass\ng = lambda own: 0\nself.own = 1\n"
        "import a as own\n[own for own in ()]\nmatch 1:\n    case own: pass\n"
    )
    defined = [name for node in ast.walk(ast.parse(code)) for name in defined_names(node)]
    assert defined.count("own") == 8
