"""The tables of meta-learning: what they say, where they go, what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tables import meta as meta_tables

from leastcontrol.runs.meta_config import MetaConfig

ROOT = Path(__file__).resolve().parents[2]


def summary(rule: str, figures: dict[str, list[float]], **options: Any) -> dict[str, Any]:
    config = MetaConfig(rule=rule, seeds=(0, 1), **options)
    apart = {0: -math.sqrt(0.5), 1: math.sqrt(0.5)}
    per_seed = [
        {
            "seed": seed,
            "test": {
                name.removeprefix("test_"): mean + side * std
                for name, (mean, std) in figures.items()
            },
        }
        for seed, side in apart.items()
    ]
    return {
        "per_seed": per_seed,
        "mean": {name: mean for name, (mean, _) in figures.items()},
        "std": {name: std for name, (_, std) in figures.items()},
        "test_tasks": 600,
        "total_tasks": config.total_tasks,
        "seconds": 12.3,
        "residual_median": 45.6,
        "seed": [0, 1],
        "config": config.as_json(),
        "command": f"leastcontrol meta --rule {rule}",
    }


def cost(rule: str, steps: int, ms: float, size: int | None) -> dict[str, Any]:
    row = {"rule": rule, "inner_steps": steps, "cpu_ms": ms, "bytes": size}
    return {**row, "command": "python benchmarks/meta_cost.py"}


FILES = {
    "meta-a.json": summary("reptile", {"test_loss": [0.5, 0.01]}),
    "meta-b.json": summary("least-control", {"test_loss": [0.4, 0.02]}, control="descent"),
    "meta-c.json": summary("maml", {"test_loss": [0.3, 0.03]}, total_tasks=4000),
    "meta-d.json": summary(
        "t1-t2", {"test_loss": [0.2, 0.1], "test_accuracy": [0.9, 0.011]}, tasks="glyphs"
    ),
    "meta-e.json": summary(
        "reptile", {"test_loss": [0.3, 0.1], "test_accuracy": [0.95, 0.01]}, tasks="glyphs"
    ),
    "meta-g.json": summary(
        "least-control", {"test_loss": [0.25, 0.1], "test_accuracy": [0.93, 0.02]}, tasks="glyphs"
    ),
    "meta-f.json": {
        "test": {"tasks": 600, "loss": 0.25, "loss_interval": 0.04, "accuracy": None},
        "total_tasks": 16000,
        "seconds": 70.0,
        "residual_median": 1.0,
        "seed": 0,
        "config": MetaConfig(rule="implicit-maml").as_json(),
        "command": "leastcontrol meta --rule implicit-maml",
    },
    "meta-cost.json": [
        cost("least-control descent", 10, 1.26, 2**20),
        cost("least-control descent", 100, 12.6, 2**20),
        cost("maml", 10, 2.0, None),
    ],
}
PARTS = ("sinusoid", "glyphs", "meta-cost")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Returns a checkout whose page has markers, and whose `results/` has rows of every kind."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    marks = [f"<!-- {part}:begin -->\nstale\n<!-- {part}:end -->" for part in PARTS]
    (tmp_path / meta_tables.PAGE).write_text("above\n" + "\n".join(marks) + "\nbelow\n")
    for name, values in FILES.items():
        (tmp_path / "results" / name).write_text(json.dumps(values))
    return tmp_path


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ") and "rule" not in line]


def test_the_best_rule_comes_first_among_those_on_the_same_tasks(project):
    summaries, costs = meta_tables.read(project / "results")
    sinusoids = meta_tables.comparison_table(summaries, "sinusoid")
    assert rows(sinusoids) == [
        "| MAML | 0.300 ± 0.030 | 12 | 4.6e+01 |",
        "| implicit MAML | 0.250 ± 0.040 | 70 | 1.0e+00 |",
        "| least control, descent | 0.400 ± 0.020 |  | 12 | 4.6e+01 |",
        # Losses of 0.493 and 0.507 less 0.386 and 0.414.
        "| Reptile | 0.500 ± 0.010 | 0.100 ± 0.007 | 12 | 4.6e+01 |",
    ]
    first, second = sinusoids.split("100000 tasks of training, 2 seeds (mean ± deviation")
    assert "4000 tasks of training, 2 seeds" in first
    assert "16000 tasks of training, 1 seed (± 95 % interval over 600 test tasks)" in first
    assert "leastcontrol meta --rule reptile" in second
    # By accuracy, where there is one.
    glyphs = meta_tables.comparison_table(summaries, "glyphs")
    assert rows(glyphs) == [
        "| Reptile | 95.00 ± 1.00 | 0.300 ± 0.100 | -2.00 ± 0.71 | 12 | 4.6e+01 |",
        "| least control | 93.00 ± 2.00 | 0.250 ± 0.100 |  | 12 | 4.6e+01 |",
        "| T1–T2 | 90.00 ± 1.10 | 0.200 ± 0.100 | 3.00 ± 0.64 | 12 | 4.6e+01 |",
    ]
    assert glyphs.startswith("5-way, 100000 tasks")
    assert rows(meta_tables.cost_table(costs)) == [
        "| least control, descent | 1.3 | 12.6 | 1.00 | 1.00 |",
        "| MAML | 2.0 |  |  |  |",
    ]


def test_the_page_is_rewritten_and_then_up_to_date(project, capsys):
    arguments = ["--root", str(project)]
    assert meta_tables.main([*arguments, "--check"]) == 1
    page = project / meta_tables.PAGE
    assert "stale" in page.read_text()
    assert meta_tables.main(arguments) == 0
    text = page.read_text()
    assert "stale" not in text
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert meta_tables.main([*arguments, "--check"]) == 0
    assert "was rewritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("meta-a.json", "{", "cannot be read as JSON"),
        ("meta-a.json", "[]", "is not the summary of a meta-training"),
        ("meta-a.json", json.dumps({**FILES["meta-a.json"], "std": None}), "is not the summary"),
        ("meta-a.json", json.dumps({**FILES["meta-a.json"], "per_seed": [{}]}), "is not the"),
        ("meta-a.json", json.dumps({**FILES["meta-a.json"], "per_seed": [{}] * 2}), "is not the"),
        ("meta-cost.json", '[{"rule": "maml"}]', "does not hold the rows of a cost"),
    ],
)
def test_files_of_another_kind_are_refused(name, content, sentence, project, capsys):
    (project / "results" / name).write_text(content)
    before = (project / meta_tables.PAGE).read_text()
    assert meta_tables.main(["--root", str(project)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert (project / meta_tables.PAGE).read_text() == before


def test_the_tables_of_the_project_are_up_to_date():
    assert meta_tables.update(ROOT, ROOT / "results", check=True) == []
