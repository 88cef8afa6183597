"""What the hooks of the site make: the pages of the interface, its signatures, and formulas."""

import re

import formulas
import griffe
import interface
import pytest
from signatures import Signatures, public_path
from typesetting import mathml, typeset


class TestInterface:
    def test_every_public_name_of_a_room_is_on_one_page_of_it(self):
        pages = interface.pages()
        for room in interface.TOPICS:
            documented = [
                name
                for path, text in pages.items()
                if path.startswith(f"api/{room}/") and not path.endswith("index.md")
                for name in re.findall(rf"^::: leastcontrol\.{room}\.(\w+)$", text, re.MULTILINE)
            ]
            assert sorted(documented) == sorted(interface.public_names(room))

    def test_a_page_is_of_one_topic(self):
        for room in interface.TOPICS:
            for topic, names in interface.topics(room).items():
                assert 1 <= len(names) <= 23, (room, topic)

    def test_a_name_without_a_topic_is_refused(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(interface.TOPICS, "rules", {"Settle": "_settle"})
        with pytest.raises(ValueError, match="belongs to no topic of the interface: name _"):
            interface.topics("rules")

    def test_a_room_s_page_links_its_names_with_a_sentence(self):
        page = interface.pages()["api/rules/index.md"]
        assert "## [Settle](settle.md)" in page
        assert re.search(r"\| \[`settle`\]\[leastcontrol.rules.settle\] \| Solves f\(", page)

    def test_tooltips_name_no_private_module(self):
        page = '<a title="Class (leastcontrol.rules._policy.Drop)">leastcontrol._x</a>'
        written = '<a title="Class (leastcontrol.rules.Drop)">leastcontrol._x</a>'
        assert interface.on_post_page(page) == written
        assert public_path("leastcontrol.rules._meta._rule.A") == "leastcontrol.meta.A"


PACKAGE = '''
import equinox as eqx
from dataclasses import field

class AbstractRule(eqx.Module):
    """A rule."""

    leak: eqx.AbstractVar[float]

class _Between(AbstractRule):
    steps: int = eqx.field(static=True, default=5)

class Rule(_Between):
    """Descends.

        F = ½‖ψ‖² + L/α

    With code:

        rule = Rule(1.0)
    """

    leak: float
    kept: list = eqx.field(default_factory=list, init=False)

    @property
    def size(self) -> int:
        return 1
'''


@pytest.fixture
def rule(tmp_path):
    """A class of a package, as the extension leaves it."""
    folder = tmp_path / "small_package"
    folder.mkdir()
    names = ("AbstractRule", "Rule")
    imports = "\n".join(f"from ._rules import {name} as {name}" for name in names)
    (folder / "__init__.py").write_text(imports, encoding="utf-8")
    (folder / "_rules.py").write_text(PACKAGE, encoding="utf-8")
    extensions = griffe.load_extensions("griffe_public_redundant_aliases", Signatures)
    package = griffe.load(
        "small_package", search_paths=[tmp_path], extensions=extensions, resolve_aliases=True
    )
    return package["_rules.Rule"]


class TestSignatures:
    def test_a_module_has_the_constructor_that_equinox_makes(self, rule):
        parameters = {p.name: str(p.default) for p in rule.members["__init__"].parameters}
        assert parameters == {"self": "None", "steps": "5", "leak": "None"}

    def test_bases_are_public(self, rule):
        assert [str(base) for base in rule.bases] == ["AbstractRule"]

    def test_a_formula_is_typeset_and_code_is_not(self, rule):
        text = rule.docstring.value
        assert "$$\nF = \\tfrac{1}{2}\\lVert \\psi \\rVert ^{2} + L/\\alpha\n$$" in text
        assert "    rule = Rule(1.0)" in text


class TestFormulas:
    @pytest.mark.parametrize(
        ("line", "written"),
        [
            ("∂_φfᵀψ = 0", r"\partial _{\varphi}f^{\top}\psi = 0"),
            ("φ̇ = f + ψ,   u ≤ 1", r"\dot{\varphi } = f + \psi ,\qquad u \le 1"),
            ("W_{i−1} = −⟨r₋, β²⟩", r"W_{i-1} = -\langle r_{-}, \beta ^{2}\rangle"),
            ("h   = tanh(Σ_i φ_i)", r"h = \tanh (\sum _{i} \varphi _{i})"),
        ],
    )
    def test_unicode_becomes_tex(self, line: str, written: str):
        assert formulas.is_formula(line)
        assert formulas.tex(line) == written

    @pytest.mark.parametrize(
        "line",
        [
            "value, gradient = estimate(params, x)",
            "∇L = 0 at the rest point",
            "α and β",
            "| φ | = ψ |",
            "L_learn(φ) = 0",
        ],
    )
    def test_words_and_code_stay(self, line: str):
        assert not formulas.is_formula(line)

    def test_a_block_with_one_word_stays_whole(self):
        block = "Text\n\n    φ = 0\n    ψ = 0   one-sided\n\nText"
        assert formulas.typeset_blocks(block) == block

    def test_a_page_has_mathml_where_it_had_tex(self):
        page = '<p><span class="arithmatex">\\(\\psi &lt; 1\\)</span></p>'
        written = typeset(page)
        assert written.startswith('<p><math xmlns="http://www.w3.org/1998/Math/MathML"')
        assert "<mi>&#x003C8;</mi><mo>&#x0003C;</mo><mn>1</mn>" in written
        page = '<div class="arithmatex">\\[\nx\n\\]</div>'
        assert typeset(page).startswith('<div class="formula" tabindex="0"><math')

    def test_signs_do_not_stretch_and_have_no_space(self):
        written = mathml(r"\lVert x \rVert / \partial y", "inline")
        assert written.count('<mo stretchy="false" lspace="0" rspace="0">&#x02016;</mo>') == 2
        assert '<mi mathvariant="normal">&#x02202;</mi>' in written
