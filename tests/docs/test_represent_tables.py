"""The table of implicit representations: what it says, where it goes, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tables import represent as tables

from leastcontrol.runs.represent_config import RepresentConfig

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("natural-1", "text-1", "natural-2", "text-2")
# Of the images, for each of two seeds.
FIGURES = {
    "recurrent-backpropagation": [[20.0, 30.0, 22.0, 30.0], [22.0, 30.0, 26.0, 30.0]],
    "least-control": [[21.0, 33.0, 22.0, 31.0], [22.0, 33.0, 26.0, 31.0]],
}


def summary(rule: str, frequency: int = 30, **options: Any) -> dict[str, Any]:
    config = RepresentConfig(
        images=IMAGES, rule=rule, seeds=(0, 1), frequency=float(frequency), **options
    )
    return {
        "mean": {"converged_fraction": 0.9876, "solve_steps": 12.34, "step_ms_median": 45.67},
        "per_seed": [
            {
                "pictures": [
                    {"image": image, "psnr_test": value}
                    for image, value in zip(IMAGES, values, strict=True)
                ]
            }
            for values in FIGURES[rule]
        ],
        "config": config.as_json(),
        "command": f"leastcontrol represent --rule {rule} --frequency {frequency}",
    }


def write(project: Path, rule: str, values: Any, frequency: int = 30) -> Path:
    path = project / "results" / f"represent-{rule}-{frequency}.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout whose page has markers and whose `results/` has both rules."""
    for folder in ("docs", "results"):
        (tmp_path / folder).mkdir()
    text = "above\n<!-- pictures:begin -->\nstale\n<!-- pictures:end -->\nbelow\n"
    (tmp_path / tables.PAGE).write_text(text, encoding="utf-8")
    for rule in FIGURES:
        write(tmp_path, rule, summary(rule))
    return tmp_path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_is_a_rule_and_the_last_is_their_difference_picture_by_picture(project: Path):
    _, _, first, second, apart, *_ = tables.table(tables.read(project / "results")).splitlines()
    # Means over the seeds: natural 21 and 24, deviation 3/√2; text 30 and 30.
    solved = ["98.76", "12.3", "45.7"]
    assert cells(first) == [
        "30",
        *("recurrent backpropagation", "22.50 ± 2.12", "30.00 ± 0.00"),
        *solved,
    ]
    # Natural 21.5 and 24, deviation 2.5/√2; text 33 and 31, deviation √2.
    assert cells(second) == ["30", "least control", "22.75 ± 1.77", "32.00 ± 1.41", *solved]
    # Natural 0.5 and 0, deviation 0.5/√2, standard error 0.25; text 3 and 1, standard error 1.
    apart_cells = ["", "the second less the first", "+0.25 ± 0.25", "+2.00 ± 1.00"]
    assert cells(apart)[:4] == apart_cells


def test_a_smaller_factor_stands_first_and_by_itself(project: Path):
    write(project, "least-control", summary("least-control", 15), 15)
    lines = tables.table(tables.read(project / "results")).splitlines()[2:6]
    assert [cells(line)[0] for line in lines] == ["15", "30", "30", ""]


def test_the_table_is_written_and_then_up_to_date(project: Path, capsys):
    arguments = ["--root", str(project)]
    assert tables.main([*arguments, "--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert tables.main(arguments) == 0
    assert tables.main([*arguments, "--check"]) == 0
    text = (project / tables.PAGE).read_text(encoding="utf-8")
    assert "stale" not in text
    assert tables.table(tables.read(project / "results")) in text
    for rule in FIGURES:
        assert f"\nleastcontrol represent --rule {rule} --frequency 30\n" in text


def test_one_rule_alone_has_no_difference_and_none_leaves_the_page(project: Path):
    (project / "results" / "represent-least-control-30.json").unlink()
    text = tables.table(tables.read(project / "results"))
    assert "recurrent backpropagation" in text
    assert "less" not in text
    (project / "results" / "represent-recurrent-backpropagation-30.json").unlink()
    assert tables.update(project, project / "results") == []
    assert "stale" in (project / tables.PAGE).read_text(encoding="utf-8")


def test_the_rules_may_differ_in_the_clipping_alone(project: Path, capsys):
    rule = "recurrent-backpropagation"
    write(project, rule, summary(rule, gradient_clip=1.0))
    assert tables.main(["--root", str(project)]) == 0
    write(project, rule, summary(rule, learning_rate=1e-5))
    capsys.readouterr()
    assert tables.main(["--root", str(project)]) == 2
    assert "have learning_rate = 1e-05 and 0.0001" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"mean": {}},
        {"mean": {"converged_fraction": 1.0, "solve_steps": None, "step_ms_median": 1.0}},
        {"per_seed": []},
        {"per_seed": [{"pictures": [{"image": "text-1", "psnr_test": 20.0}]}]},
        {"command": None},
        {"config": RepresentConfig(images=IMAGES, rule="recurrent-backpropagation").as_json()},
        {"config": summary("least-control", 15)["config"]},
    ],
    ids=str,
)
def test_what_is_no_summary_is_refused(change, project: Path, capsys):
    path = write(project, "least-control", {**summary("least-control"), **change})
    assert tables.main(["--root", str(project)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"leastcontrol: {path} is not the summary of least-control on pictures")
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_damaged_file_is_refused(content: str, project: Path, capsys):
    path = project / "results" / "represent-least-control-30.json"
    path.write_text(content, encoding="utf-8")
    assert tables.main(["--root", str(project)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert error.count("\n") == 1


def test_the_table_of_the_project_is_up_to_date():
    assert tables.update(ROOT, ROOT / "results", check=True) == []
