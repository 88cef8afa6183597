"""Every image of the README and the documentation is drawn by a committed script."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
SCRIPTS = sorted(path for path in FIGURES.glob("*.py") if path.stem != "__main__")
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "docs" / "notebooks" / "pages.py",
]
IMAGE = re.compile(r"[\w./{}-]*\.(?:svg|png|jpg|gif|webp)\b")
# Those that are drawn in seconds, from results alone.
QUICK = ("device_training", "gradient_certificate", "growth", "noise_robustness", "settle_memory")
QUICK += ("gallery", "regimes")


@pytest.fixture
def script_folder(monkeypatch: pytest.MonkeyPatch):
    """Scripts import each other as they do when they are run."""
    monkeypatch.syspath_prepend(str(FIGURES))
    yield
    for name in [path.stem for path in SCRIPTS]:
        sys.modules.pop(name, None)


def shown() -> set[str]:
    """The names of all images that a page shows or links."""
    images = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        # What a command would write, or a file of the theme, is no image of the page.
        embedded = re.findall(r"!\[[^]]*\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
        images |= {IMAGE.search(address)[0] for pair in embedded for address in pair if address}
    return {Path(address).name for address in images}


def drawn() -> set[str]:
    """The names of all images that a script saves."""
    names = set()
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        names |= set(re.findall(r'(?:save|draw)\([^"\n]*"(\w+)"', text))
        names |= set(re.findall(r'save\(\w+, f"(\w+\{name\})"\)', text))
    return {f"{name}.svg" for name in names}


def test_every_image_of_a_page_is_drawn_by_a_script():
    images = shown()
    assert {"least_control.svg", "least_control_tall.svg", "growth.svg"} <= images
    assert "gallery_{name}.svg" in images
    assert images <= drawn()


def test_every_committed_figure_is_shown_and_has_its_script():
    from notebooks.script import scripts

    gallery = {f"gallery_{script.name}.svg" for script in scripts(ROOT)}
    committed = {path.name for path in FIGURES.glob("*.svg")}
    assert gallery <= committed
    assert committed - gallery <= shown()
    assert committed - gallery == drawn() - {"gallery_{name}.svg"}


def test_the_gallery_is_of_the_examples_as_they_are():
    import json

    from notebooks.script import scripts

    stored = json.loads((ROOT / "results" / "gallery.json").read_text(encoding="utf-8"))["examples"]
    stale = [
        script.name for script in scripts(ROOT) if stored[script.name]["sha256"] != script.digest
    ]
    assert not stale, (
        "Run `python docs/figures/gallery_data.py` and `python docs/figures/gallery.py`."
    )


NUMBER = re.compile(r"-?\d+\.\d+")


def in_parts(figure: Path) -> tuple[str, list[float]]:
    """Splits a figure into its text and its coordinates, whose last digit is the machine's.

    Names of clips and markers are left out: they hash coordinates to the last bit.
    """
    text = re.sub(r"\b[mp][0-9a-f]{10}\b", "", figure.read_text(encoding="utf-8"))
    return NUMBER.sub("", text), [float(number) for number in NUMBER.findall(text)]


@pytest.mark.slow
@pytest.mark.usefixtures("script_folder")
@pytest.mark.parametrize("name", QUICK)
def test_a_committed_figure_is_what_its_script_draws(name: str, tmp_path: Path, monkeypatch):
    import matplotlib
    import themed

    monkeypatch.setattr(themed, "FIGURES", tmp_path)
    with matplotlib.rc_context():
        runpy.run_path(str(FIGURES / f"{name}.py"), run_name="__main__")
    figures = sorted(tmp_path.glob("*.svg"))
    assert figures
    for figure in figures:
        committed = FIGURES / figure.name
        # Another release of Matplotlib draws the same with other numbers.
        if f"Matplotlib v{matplotlib.__version__}," in committed.read_text(encoding="utf-8"):
            (text, numbers), (expected, others) = in_parts(figure), in_parts(committed)
            assert text == expected
            assert numbers == pytest.approx(others, abs=1e-4)


@pytest.mark.usefixtures("script_folder")
def test_a_figure_follows_the_colour_scheme():
    from themed import VARIABLES, themed

    written = themed('<svg><defs></defs><path d="M 1.23456 2" style="stroke: #1F77B4"/></svg>')
    assert 'style="stroke: var(--series-1)"' in written
    assert 'd="M 1.23 2"' in written
    assert "@media(prefers-color-scheme:dark){svg{--paper:#12181c;" in written

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in (0, 1):
        paper = luminance(VARIABLES["paper"][scheme])
        for name, colours in VARIABLES.items():
            if name not in ("paper", "grid"):
                low, high = sorted((paper, luminance(colours[scheme])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, scheme)
