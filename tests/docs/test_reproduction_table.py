"""The table of the reduced reproductions: what it says, where it goes, what is refused."""

import json
from pathlib import Path

import pytest
from tables import reproduction as reproduction_table

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "command": "leastcontrol reproduce --all --quick",
    "experiments": [
        {
            "experiment": "first",
            "seconds": 90.0,
            "verdicts": [{"failed": False}, {"failed": True}, {"failed": False}],
        },
        {"experiment": "second", "seconds": 33.0, "verdicts": [{"failed": False}]},
    ],
}


@pytest.fixture
def project(tmp_path):
    for folder in ("docs", "results"):
        (tmp_path / folder).mkdir()
    marks = "<!-- reproduce-quick:begin -->\nstale\n<!-- reproduce-quick:end -->"
    (tmp_path / reproduction_table.PAGE).write_text(f"above\n{marks}\nbelow\n")
    (tmp_path / "results" / reproduction_table.FILE).write_text(json.dumps(VALUES))
    return tmp_path


def test_the_table_is_written_and_then_up_to_date(project, capsys):
    arguments = ["--root", str(project)]
    assert reproduction_table.main([*arguments, "--check"]) == 1
    assert reproduction_table.main(arguments) == 0
    assert "was rewritten" in capsys.readouterr().err
    assert reproduction_table.main([*arguments, "--check"]) == 0
    text = (project / reproduction_table.PAGE).read_text()
    assert "stale" not in text
    for line in (
        "| `first` | 2 | 1 | 1.5 |",
        "| `second` | 1 | 0 | 0.6 |",
        "| all together | 3 | 1 | 2.0 |",
        "leastcontrol reproduce --all --quick",
    ):
        assert f"\n{line}\n" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "does not hold the verdicts"),
        ('{"experiments": []}', "does not hold the verdicts"),
        ('{"experiments": [{"seconds": "long"}], "command": ""}', "does not hold the verdicts"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, sentence, project, capsys):
    (project / "results" / reproduction_table.FILE).write_text(content)
    assert reproduction_table.main(["--root", str(project)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_the_table_of_the_project_is_up_to_date():
    assert reproduction_table.update(ROOT, ROOT / "results", check=True) == []
