"""The tables of the benchmark: what they say, where they go, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tables import bench as bench_tables

ROOT = Path(__file__).resolve().parents[2]
BASE = {
    "case": "feedforward",
    "weights": "initialisation",
    "data": "mnist",
    "batch_size": 64,
    "rule": "backpropagation",
    "strength": None,
    "ms": 2.0,
    "ratio_to": "backpropagation",
    "ratio": 1.0,
    "ratio_quartiles": [1.0, 1.0],
    "residual": 0.0,
    "steps": 1.0,
    "converged_fraction": 1.0,
    "peak_mb": 10.04,
    "command": "leastcontrol bench --data mnist",
}
INVERSION = {
    **BASE,
    "rule": "dynamic-inversion",
    "strength": 1 / 6.4,
    "ms": 3.456,
    "ratio": 1.728,
    "ratio_quartiles": [1.6, 1.85],
    "residual": 8.76e-6,
    "steps": 3.04,
    "converged_fraction": 0.999999,
    "peak_mb": None,
}
UNSOLVED = {**INVERSION, "residual": None, "converged_fraction": 0.0}
CURVE = [
    {
        **INVERSION,
        "grown": "width",
        "size": size,
        "ratio": ratio,
        "exponent": 1.234,
        "exponent_error": 0.056,
        "command": "leastcontrol bench --grow width",
    }
    for size, ratio in ((64, 2.0), (128, 1.5), (256, 1.25))
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout whose pages have markers, and whose `results/` has both kinds of rows."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    for page, part in ((bench_tables.STEPS_PAGE, "bench"), (bench_tables.GROWTH_PAGE, "growth")):
        text = f"above\n<!-- {part}:begin -->\nstale\n<!-- {part}:end -->\nbelow\n"
        (tmp_path / page).write_text(text, encoding="utf-8")
    write(tmp_path, "bench-mnist.json", [BASE, INVERSION])
    write(tmp_path, "bench-growth.json", CURVE)
    return tmp_path


def write(project: Path, name: str, rows: Any) -> None:
    (project / "results" / name).write_text(json.dumps(rows), encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_says_what_was_measured():
    lines = bench_tables.steps_table([BASE, INVERSION, UNSOLVED]).splitlines()
    same = ["feedforward, mnist", "initialisation"]
    assert cells(lines[2]) == [
        *(*same, "backpropagation", "", "1", "2.00", "100.00", "1.0", "0.0e+00", "10.0")
    ]
    assert cells(lines[3]) == [
        *(*same, "dynamic-inversion", "0.156", "1.73 [1.60, 1.85]", "3.46", "99.99", "3.0"),
        *("8.8e-06", ""),
    ]
    assert cells(lines[4])[6:9] == ["0.00", "3.0", ""]
    assert lines[5:] == ["", "```bash", "leastcontrol bench --data mnist", "```"]


def test_a_curve_is_one_row():
    lines = bench_tables.growth_table(CURVE).splitlines()
    assert cells(lines[2]) == [
        *("feedforward, mnist", "width", "dynamic-inversion", "64 to 256"),
        *("1.23 ± 0.06", "2.00", "1.25"),
    ]
    assert lines[3:] == ["", "```bash", "leastcontrol bench --grow width", "```"]
    point = {**CURVE[0], "exponent": None, "exponent_error": None}
    assert cells(bench_tables.growth_table([point]).splitlines()[2])[3:5] == ["64 to 64", ""]


def test_the_pages_are_rewritten_and_a_check_finds_stale_ones(project: Path, capsys):
    arguments = ["--root", str(project)]
    assert bench_tables.main([*arguments, "--check"]) == 1
    assert capsys.readouterr().err.count("is stale") == 2
    assert bench_tables.main(arguments) == 0
    steps, growth = (
        (project / page).read_text(encoding="utf-8")
        for page in (bench_tables.STEPS_PAGE, bench_tables.GROWTH_PAGE)
    )
    table = bench_tables.steps_table([BASE, INVERSION])
    assert steps == f"above\n<!-- bench:begin -->\n\n{table}\n\n<!-- bench:end -->\nbelow\n"
    assert bench_tables.growth_table(CURVE) in growth
    assert bench_tables.main([*arguments, "--check"]) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "does not hold the rows"),
        ([3], "does not hold the rows"),
        ([{**BASE, "ms": None}], "does not hold the rows"),
        ([{**BASE, "ratio_quartiles": [1.0]}], "does not hold the rows"),
        ([{**BASE, "strength": "strong"}], "does not hold the rows"),
        ([{**BASE, "rule": 3}], "does not hold the rows"),
        ([{**CURVE[0], "exponent": "steep"}], "does not hold the rows"),
    ],
)
def test_what_is_no_row_is_refused(project: Path, capsys, rows: Any, said: str):
    write(project, "bench-mnist.json", rows)
    assert bench_tables.main(["--root", str(project)]) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.startswith("leastcontrol: ")
    assert sentence.count("\n") == 1


def test_the_parts_of_a_step_are_a_table(project: Path, capsys):
    page = project / bench_tables.GROWTH_PAGE
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}<!-- profile:begin -->\n<!-- profile:end -->\n", encoding="utf-8")
    us = {"median": 147.4, "lower": 146.6, "upper": 151.2}
    command = "python benchmarks/joint_step.py --json results/profile-rnn.json"
    profile = {"parts": [{"part": "two products", "us": us}], "command": command}
    write(project, "profile-rnn.json", profile)
    assert bench_tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    # Both tables of the page, of which neither undoes the other.
    assert bench_tables.growth_table(CURVE) in written
    assert "| two products | 147 | 147 to 151 |" in written
    assert command in written
    capsys.readouterr()
    for broken in (
        [],
        {"parts": [{"part": "a"}]},
        {"parts": [{"part": "a", "us": {"median": "x"}}]},
    ):
        write(project, "profile-rnn.json", broken)
        assert bench_tables.main(["--root", str(project)]) == 2
        assert "does not hold the parts of a step: run" in capsys.readouterr().err


def test_a_step_on_kinks_is_a_table_with_its_solves(project: Path, capsys):
    page = project / bench_tables.DEPTH_PAGE
    page.write_text(
        "<!-- convolutional-step:begin -->\n<!-- convolutional-step:end -->\n", encoding="utf-8"
    )
    us = {"median": 6204.4, "lower": 6100.0, "upper": 6399.7}
    profile = {
        "parts": [{"part": "a sweep", "us": us}],
        "command": "python benchmarks/convolutional_step.py --json FILE",
        "states": [
            {
                "weights": "first weights",
                "ratio": 3.456,
                "sweeps_mean": 3.204,
                "sweeps_max": 11,
                "solved_fraction": 0.9999999,
                "share_after_sweeps": [0.0566, 0.4, 0.75],
            }
        ],
        "samples": 512,
        "kinds": [{"sweeps": "without", "solved": 0.762, "sweeps_mean": 6.19}],
        "most_sweeps": 40,
    }
    write(project, "profile-conv.json", profile)
    assert bench_tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    assert "| a sweep | 6204 | 6100 to 6400 |" in written
    assert "| first weights | 3.46 | 99.99 | 3.20 | 11 | 40.00, 75.00 |" in written
    assert "| sweeps, at most 40 |" in written
    assert "| without | 76.20 | 6.19 |" in written
    capsys.readouterr()
    for broken, named in (("kinds", "kinds of sweeps"), ("states", "the solves of a step")):
        write(project, "profile-conv.json", {**profile, broken: [{}]})
        assert bench_tables.main(["--root", str(project)]) == 2
        assert f"does not hold {named}: run" in capsys.readouterr().err


def test_the_errors_of_gradients_are_a_table(project: Path, capsys):
    page = project / bench_tables.GROWTH_PAGE
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}<!-- accuracy:begin -->\n<!-- accuracy:end -->\n", encoding="utf-8")
    row = {"weights": "30 epochs (run)", "rule": "least control", "tolerance": 1e-5}
    row |= {"error": 0.00123, "products": 10.66, "solved": 0.999999}
    command = "python benchmarks/gradient_accuracy.py --json results/gradient-accuracy.json"
    write(project, "gradient-accuracy.json", {"gradients": [row], "command": command})
    assert bench_tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    assert "| 30 epochs (run) | least control | 1e-05 | 1.2e-03 | 10.7 | 99.99 |" in written
    assert command in written
    capsys.readouterr()
    for broken in ([], {"gradients": [{"rule": "a"}]}, {"gradients": [{**row, "error": "x"}]}):
        write(project, "gradient-accuracy.json", broken)
        assert bench_tables.main(["--root", str(project)]) == 2
        assert "does not hold errors of gradients: run" in capsys.readouterr().err


def test_the_steps_of_deep_feedback_control_are_a_table(project: Path, capsys):
    page = project / bench_tables.GROWTH_PAGE
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}<!-- control:begin -->\n<!-- control:end -->\n", encoding="utf-8")
    step = {
        "name": "single phase",
        "median_seconds": 0.8804,
        "processor_seconds": 0.91,
        "times_published": 25.44,
        "times_repaired": 14.65,
        "temporary_mb": 4.292,
        "temporary_mb_of_a_tenth": 4.292,
    }
    command = "python benchmarks/deep_feedback_control.py --json FILE"
    figures = {"steps": [step], "process_mb": 612.3, "command": command}
    write(project, "deep-feedback-control.json", figures)
    assert bench_tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    assert "| single phase | 880 | 910 | 25 | 15 | 4.3 | 4.3 |" in written
    assert "held 612 MB" in written
    assert command in written
    capsys.readouterr()
    for broken in ([], {"steps": [{}]}, {**figures, "process_mb": "much"}):
        write(project, "deep-feedback-control.json", broken)
        assert bench_tables.main(["--root", str(project)]) == 2
        assert "does not hold steps of deep feedback control: run" in capsys.readouterr().err


def test_steps_of_a_deep_equilibrium_model_are_shown(project: Path, capsys):
    page = project / bench_tables.DEPTH_PAGE
    page.write_text("<!-- equilibrium-step:begin -->\n<!-- equilibrium-step:end -->\n", "utf-8")
    row = {
        "cell": "swapped",
        "weights": "60 steps",
        "rule": "least control, dynamic inversion, α = 320",
        "ms": {"median": 423.7},
        "ratio": {"median": 1.356},
        "steps": 52.94,
        "converged_fraction": 0.984375,
        "temporary_mb": {"50": 5.59, "200": 7.04},
    }
    command = "python benchmarks/deep_equilibrium_step.py --json FILE"
    cut = {"budget": 24, "ms": [{"median": 18.34}, {"median": 21.46}], "ratio": {"median": 1.171}}
    figures = {"rows": [row], "cut_short": [cut], "budgets": [50, 200], "command": command}
    write(project, "deep-equilibrium-step.json", figures)
    write(project, "bench-mnist.json", [BASE])
    assert bench_tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    assert "memory for 50 steps, MB | for 200 |" in written
    rule = "least control, dynamic inversion, α = 320"
    assert f"| swapped | 60 steps | {rule} | 424 | 1.36 | 52.9 | 98.44 | 5.6 | 7.0 |" in written
    assert "| 24 | 18.3 | 21.5 | 1.17 |" in written
    assert command in written
    capsys.readouterr()
    for broken in (
        [],
        {"rows": [{}], "budgets": [50, 200]},
        {**figures, "budgets": [50]},
        {**figures, "cut_short": [{**cut, "ms": [{}]}]},
    ):
        write(project, "deep-equilibrium-step.json", broken)
        assert bench_tables.main(["--root", str(project)]) == 2
        assert "does not hold steps of a deep equilibrium model: run" in capsys.readouterr().err


def test_missing_files_are_refused(project: Path, capsys):
    (project / "results" / "bench-mnist.json").write_text("{", encoding="utf-8")
    assert bench_tables.main(["--root", str(project)]) == 2
    assert "cannot be read as JSON" in capsys.readouterr().err
    assert bench_tables.main(["--root", str(project), "--results", str(project / "none")]) == 2
    assert "holds no rows of a benchmark" in capsys.readouterr().err
    (project / bench_tables.GROWTH_PAGE).unlink()
    write(project, "bench-mnist.json", [BASE])
    assert bench_tables.main(["--root", str(project)]) == 2
    assert "performance.md cannot be read" in capsys.readouterr().err


def test_the_documentation_shows_what_was_measured():
    results = ROOT / "results"
    if not list(results.glob("bench-*.json")):
        pytest.skip("no benchmark has left its rows in results/")
    assert bench_tables.update(ROOT, results, check=True) == []
