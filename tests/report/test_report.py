"""The report: what it reads, what it draws, and a page that stands by itself."""

import html
import html.parser
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from leastcontrol import report
from leastcontrol.cli import main

DIAGNOSTICS = {
    "angle_to_loss": {"all": 20.0, "layer 1": 30.0, "layer 2": 10.0},
    "control": {"layer 1": 0.01, "output": 0.1},
    "condition": {"all": 0.5},
    "feedback_angle": {"all": 80.0},
    "feedback_movement": {"all": 0.1},
    "feedback_ratio": {"layer 1": 0.2, "layer 2": 0.3},
    "margin": {"all": -0.1},
    # What is not known is not drawn.
    "another": {"all": 1.0},
}


def sample():
    """Returns what `sample.json` holds, of two times and three classes."""
    rest = {
        "loss": 0.4,
        "control": {"layer 1": 0.1, "output": 0.2},
        "plane": [1.0, 0.5],
        "probabilities": [0.1, 0.7, 0.2],
        "solved": True,
        "error": 0.5,
    }
    way = {
        "finished": True,
        "loss": [1.1, 0.6, 0.5],
        "control": {"layer 1": [0.0, 0.05, 0.1], "output": [0.0, 0.1, 0.2]},
        "plane": [[0.0, 0.0], [0.5, 0.1], [1.0, None]],
        "rest": rest,
    }
    return {
        "sample": 4,
        "target": 1,
        "pixels": [[0.0, 0.5], [1.0, 0.25], [0.0, 0.0]],
        "times": [0.0, 0.1, 10.0],
        "free": way,
        "controlled": way,
    }


def write_run(folder, seeds=(3,), epochs=3, finished=True, diagnosed=False, **config):
    """Writes a run folder as training does, its numbers given by seed and epoch."""
    words = {"rule": "least-control", "hidden": [8], "seed": None, "seeds": [], **config}
    folder.mkdir(parents=True)
    if len(seeds) > 1:
        words["seeds"] = list(seeds)
        (folder / "config.json").write_text(json.dumps(words), encoding="utf-8")
        for seed in seeds:
            options = {**config, "seed": seed}
            write_run(folder / f"seed-{seed}", (seed,), epochs, finished, diagnosed, **options)
        return folder
    words["seed"] = seeds[0]
    (folder / "config.json").write_text(json.dumps(words), encoding="utf-8")
    rows = [
        {
            "epoch": epoch,
            "loss": 1.0 / epoch + seeds[0],
            "objective": 1.0,
            "control_norm": 0.5,
            "control_energy": 0.3,
            "converged_fraction": 1.0,
            "residual_max": 0.9,
            "steps_mean": 2.0,
            "steps_max": 3,
            "step_ms": 1.0,
            "seconds": 0.25 * seeds[0],
            "validation": {"accuracy": 0.1 * epoch, "nll": None, "converged_fraction": 1.0},
            "diagnostics": DIAGNOSTICS if diagnosed else None,
        }
        for epoch in range(1, epochs + 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    if finished:
        summary = {
            "test_accuracy": 0.9 + 0.01 * seeds[0],
            "test_nll": 0.3,
            "train_accuracy": 0.95,
            "validation_accuracy": 0.3,
            "step_ms_median": 1.5,
            "seconds": 12.0,
            "command": "leastcontrol train --out 'a <b>'",
            "commit": "abc123",
            "versions": {"jax": "1.2.3"},
        }
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


class Elements(html.parser.HTMLParser):
    """Collects the elements of a page, and checks that what is opened is closed in order."""

    VOID = ("meta", "link", "br")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The text of a page about two runs and a comparison."""
    root = tmp_path_factory.mktemp("report")
    pair = write_run(root / "pair", (3, 4), diagnosed=True)
    (pair / "seed-3" / "sample.json").write_text(json.dumps(sample()), encoding="utf-8")
    odd = write_run(root / "<i>&$x^2$", (1,), rule="<script>alert(1)</script>")
    arm = write_run(root / "compared" / "arm", (5,), finished=False)
    comparison = {
        "command": "leastcontrol compare",
        "arms": [{"folder": arm.name}],
        "differences": [
            {
                "system": "feedforward",
                "rule": "least-control",
                "less": "backpropagation",
                "test_accuracy": {"mean": 0.0125, "standard_error": 0.005, "pairs": 3},
                "test_nll": {"mean": None, "standard_error": None, "pairs": 3},
            }
        ],
    }
    (root / "compared" / "comparison.json").write_text(json.dumps(comparison), encoding="utf-8")
    folders = [str(folder) for folder in (pair, odd, root / "compared")]
    with pytest.raises(SystemExit) as caught:
        main(["report", *folders, "--out", str(root / "page.html"), "--figures", f"{root}/drawn"])
    assert caught.value.code == 0
    return root / "page.html"


@pytest.fixture(scope="module")
def elements(made):
    return Elements(made.read_text(encoding="utf-8"))


# --- the page -------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(made, elements):
    text = made.read_text(encoding="utf-8")
    assert made.stat().st_size < 5e6
    assert len(elements.all("style")) == 1
    assert not {"script", "img", "iframe", "object"} & {name for name, _ in elements.tags}
    for _, attributes in elements.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith("#") or value == "data:,", value
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    policy = next(meta for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'")


def test_what_a_run_holds_is_text_and_not_markup(elements):
    text = "".join(elements.text)
    assert "<script>alert(1)</script>" in text
    assert "leastcontrol train --out 'a <b>'" in text
    assert "<i>&$x^2$" in text
    assert elements.all("i") == []


def test_it_follows_the_theme_and_fits_a_phone(made, elements):
    style = made.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    light, dark, printed = re.findall(r":root \{ (?:color-scheme: light dark; )?(--.*?) \}", style)
    names = set(re.findall(r"(--[\w-]+):", light))
    assert names == set(re.findall(r"(--[\w-]+):", dark)) >= {"--ink", "--paper", "--series-6"}
    # On paper it is light.
    assert printed == light
    used = set(re.findall(r"var\((--[\w-]+)\)", made.read_text(encoding="utf-8")))
    assert used <= names
    assert "width=device-width" in next(
        meta["content"] for meta in elements.all("meta") if meta.get("name") == "viewport"
    )
    assert elements.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_can_be_told_from_the_paper(made, theme):
    style = made.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    both = style.split("@media print")[0].split("prefers-color-scheme: dark")
    colours = dict(re.findall(r"(--[\w-]+): (#\w{6})", both[theme]))

    def luminance(colour):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    # The contrasts that WCAG 2.2 asks for: 4.5 for text, 3 for graphics.
    for paper in ("--paper", "--panel"):
        least = dict.fromkeys(("--ink", "--muted", "--focus"), 4.5)
        least |= {f"--series-{n}": 3.0 for n in range(1, 7)}
        for name, contrast in least.items():
            bright, dim = sorted((luminance(colours[name]), luminance(colours[paper])))[::-1]
            assert (bright + 0.05) / (dim + 0.05) >= contrast, name


def test_everything_can_be_reached_by_keyboard(elements):
    names = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(names) == len(set(names))
    for link in elements.all("a"):
        assert link["href"].removeprefix("#") in names
    for tag, attributes in elements.tags:
        for label in attributes.get("aria-labelledby", "").split():
            assert label in names
        if attributes.get("class") == "scroll" or tag == "pre":
            assert attributes["tabindex"] == "0"
    assert len(elements.all("th")) == sum("scope" in header for header in elements.all("th")) > 0


def test_the_numbers_are_those_of_the_runs(elements):
    text = "".join(elements.text)
    # 0.93 and 0.94; 0.91; and a run that is not finished.
    assert "93.50 ± 0.71" in text
    assert "91.00" in text
    assert "0 of 1" in text
    assert "feedforward: least-control less backpropagation" in text
    assert "1.25 ± 0.50" in text
    assert "abc123" in text
    assert "jax 1.2.3" in text


# --- figures --------------------------------------------------------------------------------------


CURVES = 7
LAYERS = {
    "angle-to-loss",
    "condition",
    "feedback-angle",
    "feedback-movement",
    "margin",
    "layers-1",
    "angles-1",
    "ratios-1",
}
SAMPLE = {"sample-1", "outputs-1", "way-loss-1", "way-plane-1", "way-control-1"}


def words_of(svg):
    """Returns the root of a drawing and the words in it."""
    root = ElementTree.fromstring(svg)
    return root, [
        element.text for element in root.iter("{http://www.w3.org/2000/svg}text") if element.text
    ]


def test_every_figure_has_a_title_units_and_a_legend(made):
    text = made.read_text(encoding="utf-8")
    drawings = re.findall(r"<figure>(<svg.*?</svg>)<figcaption>(.+?)</figcaption>", text, re.DOTALL)
    assert len(drawings) == CURVES + len(LAYERS) + len(SAMPLE)
    for number, (svg, caption) in enumerate(drawings):
        root, words = words_of(svg)
        assert root.get("role") == "img"
        assert root.get("viewBox")
        assert root.get("width") is None
        title = root.find("{http://www.w3.org/2000/svg}title").text
        assert title.endswith(html.unescape(caption))
        assert title.split(". ")[0] in words
        # Both axes are named, with a unit where they have one.
        axes = [word for word in words if re.search(r"epoch|, |/|steps|class|part of", word)]
        assert len(axes) >= 2, words
        if number < CURVES:
            assert {"pair (2 seeds)", "<i>&$x^2$", "arm"} <= set(words)
        # No markup of Matplotlib's is left in a number, and no epoch is half a one.
        assert not any("math" in word for word in words)
        if "epoch" in words:
            ticks = words[: words.index("epoch")]
            assert ticks
            assert all(float(tick).is_integer() for tick in ticks)
        assert not re.search(r"#0(10101|20202|300)", svg)


def test_the_legends_say_what_lines_and_colours_are(made):
    drawn = made.parent / "drawn"
    expected = {
        "layers-1": ("layer 1", "output", "control, state units"),
        "angles-1": ("layer 1", "layer 2"),
        "sample-1": ("brightness, of its range",),
        "outputs-1": ("free", "controlled", "target"),
        "way-loss-1": ("free", "controlled"),
        "way-plane-1": ("free", "controlled", "start"),
        "way-control-1": ("layer 1", "output"),
        "condition": ("pair (2 seeds)",),
    }
    for name, legend in expected.items():
        _, words = words_of((drawn / f"{name}.svg").read_text(encoding="utf-8"))
        assert set(legend) <= set(words), name


def test_the_figures_are_files_too(made):
    drawn = made.parent / "drawn"
    names = {path.stem for path in drawn.glob("*.svg")}
    assert names >= LAYERS | SAMPLE
    assert len(names) == CURVES + len(LAYERS) + len(SAMPLE)
    assert {path.stem for path in drawn.glob("*.png")} == names
    assert len(list(drawn.iterdir())) == 2 * len(names)
    for name in names:
        # They stand by themselves: no variable of the page, and no picture inside.
        svg = (drawn / f"{name}.svg").read_text(encoding="utf-8")
        assert "var(--" not in svg
        assert "<image" not in svg
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_not_diagnosed_has_no_such_figures(tmp_path):
    (run,) = curves(tmp_path, ("a", {}))
    assert {figure.section for figure in report.figures([run])} == {"curves"}


def test_a_heat_map_of_many_epochs_joins_them(tmp_path):
    (run,) = curves(tmp_path, ("a", {"epochs": 300, "diagnosed": True}))
    (plot,) = (each for each in report._plots.plots([run]) if each.name == "layers-1")
    with report._figures._drawn(plot, report._palette.ON_PAPER) as drawing:
        assert len(report._figures._svg(drawing)) < 200_000


def curves(tmp_path, *runs):
    return report.read([write_run(tmp_path / name, **options) for name, options in runs])[0]


def test_a_line_is_the_mean_over_the_seeds_and_the_band_their_range(tmp_path):
    (run,) = curves(tmp_path, ("a", {"seeds": (2, 4)}))
    across, low, mean, high = report._curves.curve(run, "loss")
    assert across == [1, 2, 3]
    assert low == pytest.approx([1 / n + 2 for n in (1, 2, 3)])
    assert mean == pytest.approx([1 / n + 3 for n in (1, 2, 3)])
    assert high == pytest.approx([1 / n + 4 for n in (1, 2, 3)])
    assert report._curves.curve(run, "accuracy", True)[0] == pytest.approx([0.75, 1.5, 2.25])


def test_epochs_that_not_every_seed_has_are_left_out(tmp_path):
    folder = write_run(tmp_path / "a", (2, 4))
    path = folder / "seed-4" / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # The last line is still being written, by a run that goes on.
    (folder / "seed-4" / "summary.json").unlink()
    path.write_text("".join(lines[:2]) + lines[2][:20], encoding="utf-8")
    ((run,), _) = report.read([folder])
    assert report._curves.curve(run, "loss")[0] == [1, 2]


def test_a_number_that_was_not_finite_is_a_gap(tmp_path):
    folder = write_run(tmp_path / "a")
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8").replace(
        '"control_energy": 0.3', '"control_energy": null'
    )
    path.write_text(text, encoding="utf-8")
    ((run,), _) = report.read([folder])
    assert all(map(math.isnan, run.trials[0].epochs["control_energy"]))
    assert len(report.figures([run])) == CURVES


def test_a_run_without_an_epoch_is_shown(tmp_path):
    (run,) = curves(tmp_path, ("a", {"epochs": 0, "finished": False}))
    assert run.trials == ()
    Elements(report.page([run], [], report.figures([run])))


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = curves(tmp_path, ("one/run", {}), ("two/run", {}))
    assert len({run.name for run in runs}) == 2


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "is not a run folder"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", "[]", "holds no configuration"),
        ("config.json", '{"seeds": 3}', "not whole numbers"),
        ("metrics.jsonl", "{}\n", "Line 1 of .* holds no figures"),
        ("metrics.jsonl", "[1\n", "Line 1 of .* holds no figures"),
        ("summary.json", "[]", "holds no summary"),
        ("sample.json", "{}", "holds no trajectory"),
        ("sample.json", json.dumps({**sample(), "free": None}), "holds no trajectory"),
        ("sample.json", json.dumps({**sample(), "pixels": [[1], [1, 2]]}), "holds no trajectory"),
        ("sample.json", json.dumps({**sample(), "times": [0, 1]}), "holds no trajectory"),
        ("comparison.json", "{}", "holds no comparison"),
        ("comparison.json", "[", "cannot be read as JSON"),
    ],
)
def test_a_damaged_folder_is_one_sentence(name, content, message, tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["report", str(folder), "--out", str(tmp_path / "page.html")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "page.html").exists()


def test_the_report_needs_nothing_that_trains():
    code = "import sys; import leastcontrol.report._runs as r; print(*sys.modules, sep='\\n')"
    # `leastcontrol` itself brings JAX; none of the rooms above the face may come with the report.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {f"leastcontrol.{name}" for name in ("data", "training", "runs", "cli")}
    assert not rooms & set(done.stdout.split())
