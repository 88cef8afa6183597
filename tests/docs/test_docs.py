"""Every Python block of the README and the documentation runs as printed; every room has a page."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import interface
import pytest

from leastcontrol import feedback_control, meta, rules

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

BLOCK = re.compile(
    r"(?P<comment><!-- not run:(?P<reason>(?:(?!-->).)*)-->\s*)?"
    r"^(?P<indent>[ \t]*)```[ \t]*(?P<language>python|py)\b[^\n]*\n"
    r"(?P<code>.*?)"
    r"^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


def runnable(page: str, name: str) -> str:
    """Return the page as a module: its Python blocks stay on their lines, all the rest is blank."""
    lines = [""] * (page.count("\n") + 1)
    for match in BLOCK.finditer(page):
        start = page.count("\n", 0, match.start("code"))
        if match["comment"]:
            if not match["reason"].strip():
                raise ValueError(f"{name}:{start}: `<!-- not run: -->` gives no reason.")
            continue
        for offset, line in enumerate(match["code"].splitlines()):
            lines[start + offset] = line.removeprefix(match["indent"])
    return "\n".join(lines)


# Pages whose programs take the longest to compile.
LONG = (
    *("comparison", "extending", "meta-learning", "working-with-runs", "equilibrium-models"),
    *("local-learning", "gpus-and-hosts", "optimistix", "torchdeq", "jpc"),
)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            marks=[pytest.mark.slow]
            if path.parent.name == "tutorials" or "how-to" in path.name or path.stem in LONG
            else [],
            id=str(path.relative_to(ROOT)),
        )
        for path in PAGES
    ],
)
def test_the_python_blocks_of_a_page_run(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    code = runnable(path.read_text(encoding="utf-8"), path.name)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(path), "exec"), {"__name__": "__main__"})


ROOMS = [
    module.name
    for module in pkgutil.iter_modules([str(ROOT / "leastcontrol")])
    if not module.name.startswith("_")
]


def test_every_room_has_its_page():
    assert set(interface.ROOMS) == set(ROOMS)
    pages = interface.pages()
    for room in ROOMS:
        assert f"::: leastcontrol.{room}\n" in pages[f"api/{room}/index.md"]
    # And its line in the overview.
    overview = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)/index\.md\)", overview)) == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_pages_show_every_public_name(room: str):
    module = importlib.import_module(f"leastcontrol.{room}")
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "leastcontrol").startswith("leastcontrol")
    }
    assert public or room in interface.MODULES
    # What has no docstring is left out of the page, and what is imported unless it is made public.
    if room not in interface.MODULES:
        assert public <= set(interface.public_names(room))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in {**vars(rules), **vars(feedback_control), **vars(meta)}.items()
        if not name.startswith("_")
        and (
            inspect.isfunction(value)
            or (
                inspect.isclass(value)
                and issubclass(value, rules.AbstractRule | meta.AbstractMetaRule)
                and not inspect.isabstract(value)
            )
        )
    ],
)
def test_every_rule_says_what_is_exact(name: str):
    page = (ROOT / "docs" / "exact-and-approximate.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page


class TestRunnable:
    """The reader of the pages, on pages whose outcome is known."""

    def test_blocks_share_a_namespace_and_keep_their_lines(self):
        page = "one\n```python\na = 1\n```\ntwo\n\n    ```py\n    b = a + 1\n    ```\n"
        code = runnable(page, "page")
        assert code.splitlines()[2] == "a = 1"
        assert code.splitlines()[7] == "b = a + 1"
        namespace: dict[str, object] = {}
        exec(code, namespace)
        assert namespace["b"] == 2

    def test_other_languages_and_output_are_left_out(self):
        page = "```\nnot python\n```\n```bash\nmake test\n```\n```pycon\n>>> 1\n```\n"
        assert runnable(page, "page").strip() == ""

    def test_a_block_is_left_out_only_for_a_reason(self):
        block = "```python\n1 / 0\n```\n"
        assert runnable(f"<!-- not run: needs a GPU -->\n{block}", "page").strip() == ""
        assert "1 / 0" in runnable(block, "page")
        with pytest.raises(ValueError, match=r"page:3: .* no reason"):
            runnable(f"\n<!-- not run: -->\n{block}", "page")
        both = f"<!-- not run: a reason -->\n\n{block}\n{block}"
        assert runnable(both, "page").count("1 / 0") == 1

    def test_a_reason_holds_for_the_next_block_only(self):
        page = "<!-- not run: old -->\ntext\n<!-- a note -->\n```python\n1 / 0\n```\n"
        assert "1 / 0" in runnable(page, "page")
