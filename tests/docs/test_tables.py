"""The table of results: what it says, where it goes, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from tables import accuracy as tables

ROOT = Path(__file__).resolve().parents[2]


def summary(expected: tables.Expected, **changes: Any) -> dict[str, Any]:
    """Return what `leastcontrol train --seeds … --results` writes, as far as it is read."""
    values: dict[str, Any] = {
        "mean": {"test_accuracy": 0.98114, "step_ms_median": 3.456},
        "std": {"test_accuracy": 0.00069, "step_ms_median": 0.2},
        "per_seed": [{"seed": seed} for seed in (0, 1, 2)],
        "solve": {"converged_fraction": 0.9876, "steps_mean": 6.54},
        "epochs": 30,
        "config": {"alpha": 0.1, **expected.words},
        "command": f"leastcontrol train --out runs/{expected.name}",
    }
    return {**values, **changes}


def write(results: Path, expected: tables.Expected, **changes: Any) -> Path:
    results.mkdir(exist_ok=True)
    path = results / f"{expected.name}.json"
    path.write_text(json.dumps(summary(expected, **changes)), encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout whose pages have markers and whose `results/` has two of the runs."""
    (tmp_path / "docs").mkdir()
    for page in tables.PAGES:
        text = f"above {page}\n{tables.BEGIN}\nstale\n{tables.END}\nbelow\n"
        (tmp_path / page).write_text(text, encoding="utf-8")
    # Not in the order of the table.
    write(tmp_path / "results", tables.ROWS[6])
    write(tmp_path / "results", tables.ROWS[1])
    return tmp_path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_says_what_was_measured_and_what_the_paper_reports(project: Path):
    lines = tables.table(tables.read(project / "results")).splitlines()
    assert len(lines) == 4
    assert cells(lines[2]) == [
        "feedforward 2×256",
        "least control, dynamic inversion",
        "98.11 ± 0.07",
        "3",
        "98.11 ± 0.07",
        "98.76",
        "6.5",
        "3.46",
    ]
    assert cells(lines[3])[:2] == ["RNN 256", "least control, dynamic inversion"]
    assert cells(lines[3])[4] == "97.58 ± 0.12"


def test_the_second_table_says_how_strong_the_feedback_was(project: Path):
    page = project / tables.COMMANDS_PAGE
    page.write_text(
        page.read_text(encoding="utf-8")
        + "<!-- feedback-control:begin -->\nstale\n<!-- feedback-control:end -->\n",
        encoding="utf-8",
    )
    by_name = {expected.name: expected for expected in tables.FEEDBACK_ROWS}
    assert len(by_name) == 10
    diagnostics = {"error_ratio": {"all": 0.0712}, "condition": {"all": 0.913, "random": 0.35}}
    write(
        project / "results",
        by_name["fashion-mnist-single-phase"],
        epochs=3,
        diagnostics=diagnostics,
    )
    write(project / "results", by_name["mnist-dfc-direct-feedback-alignment"])
    assert tables.main(["--root", str(project)]) == 0
    lines = tables.feedback_table(tables.read(project / "results", tables.FEEDBACK_ROWS))
    assert lines in page.read_text(encoding="utf-8")
    first, second = (cells(line) for line in lines.splitlines()[2:])
    assert first[:2] == ["MNIST", "direct feedback alignment"]
    assert first[3:8] == ["3", "30", "–", "–", "–"]
    assert second[:2] == ["Fashion-MNIST", "strong feedback, simulated single phase"]
    assert second[4:8] == ["3", "87.26", "0.071", "0.91 (0.35)"]
    other = dict(by_name["mnist-dfc-direct-feedback-alignment"].words, rule="backpropagation")
    write(project / "results", by_name["mnist-dfc-direct-feedback-alignment"], config=other)
    with pytest.raises(tables.TablesError, match="rule = 'backpropagation'"):
        tables.read(project / "results", tables.FEEDBACK_ROWS)


def test_the_runs_of_depth_and_space_stand_on_their_own_page(project: Path):
    page = project / tables.DEPTH_PAGE
    page.write_text("<!-- depth:begin -->\nstale\n<!-- depth:end -->\n", encoding="utf-8")
    by_name = {expected.name: expected for expected in tables.DEPTH_ROWS}
    assert len(by_name) == 6
    least = by_name["fashion-mnist-convolutional-dynamic-inversion"]
    known = summary(least)
    nats = {
        "mean": {**known["mean"], "train_nll": 0.2126},
        "std": {**known["std"], "train_nll": 0.0301},
    }
    assert least.words["controller"] == "dynamic-inversion"
    write(project / "results", least, epochs=5, **nats)
    write(project / "results", by_name["fashion-mnist-deep-equilibrium-recurrent-backpropagation"])
    assert tables.main(["--root", str(project)]) == 0
    written = page.read_text(encoding="utf-8")
    lines = tables.depth_table(tables.read(project / "results", tables.DEPTH_ROWS))
    assert lines in written
    assert f"\nleastcontrol train --out runs/{least.name}\n" in written
    first, second = (cells(line) for line in lines.splitlines()[2:])
    assert first[:2] == ["convolutional", "least control, dynamic inversion"]
    assert first[2:] == ["98.11 ± 0.07", "0.213 ± 0.030", "3", "5", "98.76", "6.5", "3.46"]
    assert second[:2] == ["deep equilibrium, swapped cell", "recurrent backpropagation"]
    assert second[3] == "–"


def test_a_share_that_is_not_whole_never_reads_100(project: Path):
    shares = {0.999999: "99.99", 1.0: "100.00", 0.99994: "99.99", 0.5: "50.00"}
    for share, expected in shares.items():
        write(
            project / "results",
            tables.ROWS[1],
            solve={"converged_fraction": share, "steps_mean": 1},
        )
        line = tables.table(tables.read(project / "results")).splitlines()[2]
        assert cells(line)[5] == expected


def test_the_pages_are_rewritten_between_their_markers(project: Path):
    assert tables.main(["--root", str(project)]) == 0
    written = tables.table(tables.read(project / "results"))
    readme, page = ((project / name).read_text(encoding="utf-8") for name in tables.PAGES)
    assert readme == (f"above README.md\n{tables.BEGIN}\n\n{written}\n\n{tables.END}\nbelow\n")
    assert page.startswith("above docs/results.md\n")
    assert page.endswith(f"{tables.END}\nbelow\n")
    assert written in page
    for row in (tables.ROWS[1], tables.ROWS[6]):
        assert f"\nleastcontrol train --out runs/{row.name}\n" in page
    assert "stale" not in readme + page
    assert sorted(path.name for path in project.iterdir()) == ["README.md", "docs", "results"]


def test_a_check_finds_stale_pages_and_writes_nothing(project: Path, capsys):
    before = [(project / name).read_text(encoding="utf-8") for name in tables.PAGES]
    assert tables.main(["--root", str(project), "--check"]) == 1
    assert "README.md is stale." in capsys.readouterr().err
    assert [(project / name).read_text(encoding="utf-8") for name in tables.PAGES] == before

    assert tables.main(["--root", str(project)]) == 0
    assert tables.main(["--root", str(project), "--check"]) == 0
    write(project / "results", tables.ROWS[0])
    assert tables.main(["--root", str(project), "--check"]) == 1


def refusal(project: Path, capsys, *options: str) -> str:
    """Return the one sentence that the script ends with."""
    pages = [(project / name).read_text(encoding="utf-8") for name in tables.PAGES]
    assert tables.main(["--root", str(project), *options]) == 2
    assert [(project / name).read_text(encoding="utf-8") for name in tables.PAGES] == pages
    sentence = capsys.readouterr().err
    assert sentence.startswith("leastcontrol: ")
    assert sentence.count("\n") == 1
    assert "Traceback" not in sentence
    return sentence


def test_a_missing_folder_is_refused(project: Path, capsys):
    missing = project / "nothing"
    assert f"{missing} is not a folder" in refusal(project, capsys, "--results", str(missing))


def test_a_folder_without_any_run_is_refused(project: Path, capsys):
    (project / "empty").mkdir()
    sentence = refusal(project, capsys, "--results", str(project / "empty"))
    assert "holds none of mnist-feedforward-backpropagation.json" in sentence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": {}}, "has no std.test_accuracy"),
        ({"mean": 0.98}, "has no mean.test_accuracy"),
        ({"solve": {"converged_fraction": 1.0}}, "has no solve.steps_mean"),
        (
            {"solve": {"converged_fraction": "all", "steps_mean": 1}},
            "has solve.converged_fraction = 'all'",
        ),
        (
            {"solve": {"converged_fraction": float("nan"), "steps_mean": 1}},
            "has solve.converged_fraction = nan",
        ),
        ({"per_seed": 3}, "does not say in `per_seed` and `command`"),
        ({"command": None}, "does not say in `per_seed` and `command`"),
        ({"config": tables.ROWS[2].words}, "with controller = 'energy', but its name stands for"),
    ],
)
def test_a_summary_that_is_none_is_refused(project: Path, capsys, changes, message):
    path = write(project / "results", tables.ROWS[1], **changes)
    sentence = refusal(project, capsys)
    assert str(path) in sentence
    assert message in sentence


def test_strong_control_is_not_what_has_a_larger_leak(project: Path, capsys):
    write(project / "results", tables.STRONG)
    last = tables.table(tables.read(project / "results")).splitlines()[-1]
    assert cells(last)[:2] == ["feedforward 2×256", "least control, strong"]
    write(project / "results", tables.STRONG, config={**tables.STRONG.words, "alpha": 0.01})
    assert "with alpha = 0.01, but its name stands for 0.0001" in refusal(project, capsys)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]"])
def test_a_damaged_file_is_refused(project: Path, capsys, content: bytes):
    path = project / "results" / f"{tables.ROWS[1].name}.json"
    path.write_bytes(content)
    assert str(path) in refusal(project, capsys)


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        f"{tables.BEGIN}\n",
        f"{tables.END}\n{tables.BEGIN}\n",
        f"{tables.BEGIN}\n{tables.END}\n{tables.BEGIN}\n{tables.END}\n",
    ],
)
def test_a_page_without_its_markers_is_refused(project: Path, capsys, text: str):
    (project / "docs" / "results.md").write_text(text, encoding="utf-8")
    assert "does not have the two markers" in refusal(project, capsys)


def test_a_missing_page_is_refused(project: Path, capsys):
    (project / "docs" / "results.md").unlink()
    assert tables.main(["--root", str(project)]) == 2
    assert "results.md cannot be read" in capsys.readouterr().err
    assert "stale" in (project / "README.md").read_text(encoding="utf-8")


def test_the_project_shows_what_its_runs_have_shown():
    results = ROOT / "results"
    if not any((results / f"{expected.name}.json").exists() for expected in tables.ROWS):
        pytest.skip("no run has left its summary in results/")
    assert tables.update(ROOT, results, check=True) == []
