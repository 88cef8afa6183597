"""How pages and notebooks are made of scripts, and what is stored of the project's examples."""

import json
from pathlib import Path

import pytest
from notebooks import outputs, pages
from notebooks.script import read_script, scripts

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """\
# %% [markdown]
# # A title
#
# It shows one thing. And
# another one.

# %%
a = 1
print("once", a)
# %%

print(a + 1)
b = 1 / a
"""


@pytest.fixture
def script(tmp_path: Path):
    (tmp_path / "one.py").write_text(SCRIPT, encoding="utf-8")
    return read_script(tmp_path / "one.py")


def test_a_script_is_read_as_cells(script):
    assert (script.name, script.title) == ("one", "A title")
    assert script.summary == "It shows one thing. And another one."
    assert [cell.is_text for cell in script.cells] == [True, False, False]
    assert script.cells[2].source == "print(a + 1)\nb = 1 / a"
    assert SCRIPT.splitlines()[script.cells[2].line - 1] == "print(a + 1)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("print(1)\n" + SCRIPT, "does not begin with a text"),
        ("# %%\n", "does not begin with"),
        ("# %% [markdown]\n# # Title\n# %%\n1\n", "no text below it"),
    ],
)
def test_a_script_without_a_heading_is_refused(text: str, sentence: str, tmp_path: Path):
    (tmp_path / "two.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_script(tmp_path / "two.py")


def test_cells_share_their_names_and_each_has_its_output(script):
    assert outputs.run_cells(script) == ["", "once 1\n", "2\n"]


def test_a_fault_is_shown_at_its_line_of_the_file(tmp_path: Path):
    (tmp_path / "bad.py").write_text(SCRIPT.replace("1 / a", "1 / 0"), encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as raised:
        outputs.run_cells(read_script(tmp_path / "bad.py"))
    last = raised.traceback[-1]
    assert str(last.path).endswith("examples/bad.py")
    assert last.lineno + 1 == len(SCRIPT.splitlines())


def test_a_page_shows_code_and_its_output(script):
    page = pages.page(script, ["", "once 1\n", "2\n"])
    assert page.startswith("# A title\n\nIt shows one thing. And\nanother one.\n")
    assert '```python\na = 1\nprint("once", a)\n```\n\n```text\nonce 1\n```' in page
    assert "```text" not in pages.page(script, None)
    gallery = pages.index([script])
    assert "**[A title](one.md)** – It shows one thing. [Notebook](one.ipynb)" in gallery
    assert "](../figures/gallery_one.svg)" in gallery


def test_a_notebook_has_the_cells_and_their_output(script):
    document = json.loads(pages.notebook(script, ["", "once 1\n", "2\n"]))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    text, first, _ = document["cells"]
    assert text["cell_type"] == "markdown"
    assert "".join(text["source"]).startswith("# A title")
    assert "".join(first["source"]) == 'a = 1\nprint("once", a)'
    assert first["outputs"] == [{"output_type": "stream", "name": "stdout", "text": ["once 1\n"]}]
    assert len({cell["id"] for cell in document["cells"]}) == 3


def test_output_of_another_text_is_not_shown(script):
    stored = {"one": {"sha256": script.digest, "printed": ["", "", ""]}}
    assert outputs.outputs_of(script, stored) == ["", "", ""]
    stored["one"]["sha256"] = "of another text"
    assert outputs.outputs_of(script, stored) is None
    assert outputs.outputs_of(script, {}) is None


def test_what_is_stored_is_of_the_examples_as_they_are():
    stored = outputs.read(ROOT)
    stale = [each.name for each in scripts(ROOT) if outputs.outputs_of(each, stored) is None]
    assert not stale, f"Run `{outputs.COMMAND}`."
    assert set(stored) == {each.name for each in scripts(ROOT)}


@pytest.mark.parametrize(
    ("stored", "printed", "lines"),
    [
        ("a 1.00 b\nc\n", "a 1.02 b\nc\n", 0),
        ("a 1.00 b\nc\n", "a 1.08 b\nc\n", 1),
        ("2.2e-04", "2.4e-04", 0),
        ("2.2e-04", "2.2e-03", 1),
        ("0.001 of", "0.003 of", 0),
        ("0.001 of", "0.004 of", 1),
        ("-0.07 of", "0.07 of", 1),
        ("100 %", "92 %", 1),
        ("a member is", "two members are", 1),
        ("a\n", "a\nb\nc\n", 2),
        ("a\nb\n", "a\n", 1),
    ],
)
def test_output_may_differ_in_the_last_digits_alone(stored, printed, lines):
    assert len(outputs.differences(stored, printed)) == lines
