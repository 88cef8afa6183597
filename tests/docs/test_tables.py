"""How a table is made of its description, and what those of the project say."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tables.__main__ import ROOT, TABLES, main
from tables.description import DASH, SPREAD, Column, File, Table, TablesError, share, under, words

RUNS = Table(
    "page.md",
    "runs",
    "leastcontrol train --results FILE",
    [
        File(f"{name}.json", {"config.rule": name}, {"label": name.capitalize()})
        for name in ("missing", "first", "second")
    ],
    [
        words("rule", "label"),
        Column("accuracy, %", "mean.accuracy std.accuracy", SPREAD, 100),
        Column("solved, %", "solved", share),
        Column("condition", "diagnostics.condition", "{:.1f}".format, absent=DASH),
    ],
    above=lambda row: f"{len(row['seeds'])} seeds:",
)
PARTS = Table(
    "docs/other.md",
    "parts",
    "python script.py",
    [File("parts.json")],
    [words("part", "name"), Column("µs", "us.1", "{:.0f}".format), Column("of", "total")],
    under("parts"),
    lambda rows: [row.plus(total=f"{row['total']:d}") for row in reversed(rows)],
    below=lambda row: f"{row['total']} in all.",
    commands=False,
)
FIRST = {
    "mean": {"accuracy": 0.98114},
    "std": {"accuracy": 0.00069},
    "solved": 0.999999,
    "seeds": [0, 1, 2],
    "config": {"rule": "first"},
    "command": "leastcontrol train --rule first",
}
FILES: dict[str, Any] = {
    "first.json": FIRST,
    "second.json": {**FIRST, "config": {"rule": "second"}, "diagnostics": {"condition": 0.25}},
    "parts.json": {
        "total": 7,
        "parts": [{"name": "a", "us": [1, 2.6]}, {"name": "b", "us": [3, 4]}],
    },
}
TOO_LARGE = json.dumps(FIRST).replace("0.999999", "1e999").encode()
PAGES = {
    "page.md": "above\n<!-- runs:begin -->\nstale\n<!-- runs:end -->\nbelow\n",
    "docs/other.md": "<!-- parts:begin --><!-- parts:end -->",
}
WRITTEN = {
    "page.md": """\
above
<!-- runs:begin -->

3 seeds:

| rule | accuracy, % | solved, % | condition |
|---|---:|---:|---:|
| First | 98.11 ± 0.07 | 99.99 | – |
| Second | 98.11 ± 0.07 | 99.99 | 0.2 |

```bash
leastcontrol train --rule first
```

<!-- runs:end -->
below
""",
    "docs/other.md": """\
<!-- parts:begin -->

| part | µs | of |
|---|---:|---:|
| b | 4 | 7 |
| a | 3 | 7 |

7 in all.

<!-- parts:end -->""",
}


def write(results: Path, files: dict[str, Any]) -> Path:
    results.mkdir(exist_ok=True)
    for name, values in files.items():
        (results / name).write_text(json.dumps(values), encoding="utf-8")
    return results


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout with two pages, and the files of two tables but for one run."""
    (tmp_path / "docs").mkdir()
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    write(tmp_path / "results", FILES)
    return tmp_path


def make(project: Path, *arguments: str) -> int:
    return main(arguments, project, [RUNS, PARTS])


def pages(project: Path) -> dict[str, str]:
    """Return the texts of all pages, and with them whatever else was left beside these."""
    paths = [path for path in project.rglob("*") if path.is_file() and path.suffix != ".json"]
    return {str(path.relative_to(project)): path.read_text(encoding="utf-8") for path in paths}


def refused(project: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one sentence that ends the script, which has written nothing."""
    before = pages(project)
    assert make(project) == 2
    assert pages(project) == before
    sentence = capsys.readouterr().err
    assert re.fullmatch(r"leastcontrol: [^\n]+\.\n", sentence)
    return sentence


def test_tables_stand_between_their_markers(project: Path):
    assert make(project) == 0
    assert pages(project) == WRITTEN


def test_a_check_finds_stale_pages_and_writes_nothing(project: Path, capsys):
    assert make(project, "--check") == 1
    assert pages(project) == PAGES
    assert capsys.readouterr().err.count("is stale.") == 2
    assert make(project) == 0
    assert capsys.readouterr().err.count("was rewritten.") == 2
    assert make(project, "--check") == 0
    write(project / "results", {"missing.json": {**FIRST, "config": {"rule": "missing"}}})
    assert make(project, "--check") == 1
    assert pages(project) == WRITTEN


def test_a_table_without_files_stays_and_others_share_a_page_or_a_place(project: Path):
    (project / "results" / "parts.json").unlink()
    again = "<!-- again:begin --><!-- again:end -->"
    (project / "page.md").write_text(PAGES["page.md"] + again, encoding="utf-8")
    short = Table("page.md", "runs", "", RUNS.files, RUNS.columns[:1], commands=False)
    assert main([], project, [PARTS, short, short, dataclasses.replace(short, marker="again")]) == 0
    table = "\n\n| rule |\n|---|\n| First |\n| Second |"
    written = (
        f"above\n<!-- runs:begin -->{table}{table}\n\n<!-- runs:end -->\nbelow\n"
        f"<!-- again:begin -->{table}\n\n<!-- again:end -->"
    )
    assert pages(project) == {**PAGES, "page.md": written}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("first.json", b"{", "cannot be read as JSON"),
        ("first.json", b"\xff\xfe", "cannot be read as JSON"),
        ("first.json", b'{"solved": NaN}', "cannot be read as JSON (NaN is not a finite number)"),
        ("first.json", b"[1, 2]", "has no config.rule"),
        ("first.json", {"config": {"rule": "x"}}, "config.rule = 'x', but its name stands for 'f"),
        ("first.json", {**FIRST, "std": {}}, "has no std.accuracy"),
        ("first.json", {**FIRST, "mean": 0.98}, "has no mean.accuracy"),
        ("first.json", {**FIRST, "solved": "all"}, "solved = 'all', but 'solved, %' cannot show"),
        ("first.json", {**FIRST, "solved": True}, "solved = True, but 'solved, %' cannot show"),
        ("first.json", TOO_LARGE, "has solved = inf, but 'solved, %' cannot show"),
        ("first.json", {**FIRST, "command": None}, "has no command"),
        ("first.json", {**FIRST, "seeds": 3}, "cannot be made of"),
        ("parts.json", [], "cannot be made of"),
        ("parts.json", {"parts": []}, "holds no rows"),
        ("parts.json", {"parts": [3]}, "cannot be made of"),
        ("parts.json", {"parts": [{"name": 3, "us": [1, 2]}], "total": 7}, "'part' cannot show"),
        ("parts.json", {"parts": [{"name": "a", "us": [1]}], "total": 7}, "has no us.1"),
    ],
)
def test_files_of_another_kind_are_refused(name, content, sentence, project: Path, capsys):
    path = project / "results" / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    error = refused(project, capsys)
    assert sentence in error
    assert str(path) in error


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        "<!-- parts:begin -->",
        "<!-- parts:end --><!-- parts:begin -->",
        "<!-- parts:begin --><!-- parts:begin --><!-- parts:end -->",
        "<!-- parts:begin --><!-- parts:end --><!-- parts:end -->",
    ],
)
def test_a_page_without_its_markers_is_refused(text: str, project: Path, capsys):
    (project / "docs" / "other.md").write_text(text, encoding="utf-8")
    assert "does not have the two markers" in refused(project, capsys)


def test_a_missing_page_and_missing_results_are_refused(project: Path, capsys):
    (project / "docs" / "other.md").unlink()
    assert "other.md cannot be read" in refused(project, capsys)
    for path in (project / "results").iterdir():
        path.unlink()
    assert "holds no file that a table is made of" in refused(project, capsys)


def test_pages_that_cannot_be_written_stay(project: Path, capsys, monkeypatch):
    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    assert "the disk is full" in refused(project, capsys)


@pytest.mark.parametrize(
    ("part", "text"), [(0.999999, "99.99"), (1.0, "100.00"), (0.99994, "99.99"), (0.5, "50.00")]
)
def test_a_share_that_is_not_whole_never_reads_100(part: float, text: str):
    assert share(part) == text


# --- the project's own ---------------------------------------------------------------------------


def test_the_pages_show_what_the_results_hold(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_every_marker_of_a_page_has_a_table():
    marks = {
        (str(page.relative_to(ROOT)), marker)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for marker in re.findall(r"<!-- ([\w-]+):begin -->", page.read_text(encoding="utf-8"))
    }
    assert marks == {(table.page, table.marker) for table in TABLES}


def rows(results: Path, marker: str, files: dict[str, Any]) -> list[list[str]]:
    """Return the cells of the rows of one of the project's tables, made of other files."""
    write(results, files)
    table = next(entry for entry in TABLES if entry.marker == marker and entry.markdown(results))
    lines = [line for line in table.markdown(results).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def training(**config: Any) -> dict[str, Any]:
    return {**FIRST, "config": config, "per_seed": [{}] * 3, "epochs": 30} | {
        "mean": {"test_accuracy": 0.98114, "step_ms_median": 3.456},
        "std": {"test_accuracy": 0.00069},
        "solve": {"converged_fraction": 0.9876, "steps_mean": 6.54},
    }


def test_an_accuracy_stands_beside_what_the_paper_reports(tmp_path: Path):
    network = {"data": "mnist", "system": "feedforward", "hidden": [256, 256]}
    least = {**network, "rule": "least-control", "controller": "dynamic-inversion"}
    name = "mnist-feedforward-dynamic-inversion.json"
    (row,) = rows(tmp_path, "results", {name: training(**least)})
    assert row == [
        *("feedforward 2×256", "least control, dynamic inversion", "98.11 ± 0.07", "3"),
        *("98.11 ± 0.07", "98.76", "6.5", "3.46"),
    ]
    deep = {**network, "hidden": [256, 256, 256], "rule": "direct-feedback-alignment"}
    files = {"mnist-dfc-direct-feedback-alignment.json": training(**deep)}
    (row,) = rows(tmp_path, "feedback-control", files)
    assert row[3:8] == ["3", "30", "–", "–", "–"]


def test_a_curve_is_one_row_and_a_baseline_is_once_itself(tmp_path: Path):
    step = {"case": "rnn", "weights": "first", "data": "mnist", "rule": "b", "ratio_to": "b"}
    step |= {"strength": None, "ms": 2.0, "ratio": 1.0, "ratio_quartiles": [1, 1], "residual": 0.0}
    step |= {"steps": 1, "converged_fraction": 1.0, "peak_mb": 10.04, "command": "bench"}
    other = {
        **step,
        "rule": "o",
        "ratio": 1.728,
        "ratio_quartiles": [1.6, 1.85],
        "strength": 0.15625,
    }
    first, second = rows(tmp_path, "bench", {"bench-mnist.json": [step, other]})
    assert first == [
        "rnn, mnist",
        "first",
        "b",
        "",
        "1",
        "2.00",
        "100.00",
        "1.0",
        "0.0e+00",
        "10.0",
    ]
    assert second[2:5] == ["o", "0.156", "1.73 [1.60, 1.85]"]
    slope = {"grown": "width", "exponent": 1.234, "exponent_error": 0.056}
    curve = [{**other, **slope, "size": size, "ratio": 100 / size} for size in (50, 80)]
    (row,) = rows(tmp_path, "growth", {"bench-growth.json": curve})
    assert row == ["rnn, mnist", "width", "o", "50 to 80", "1.23 ± 0.06", "2.00", "1.25"]


def test_least_controls_lead_is_that_seed_by_seed(tmp_path: Path):
    accuracies = {"least-control": [0.90, 0.96], "reptile": [0.95, 0.95], "t1-t2": [0.91, 0.89]}

    def summary(rule: str) -> dict[str, Any]:
        mean = sum(accuracies[rule]) / 2
        return {
            "per_seed": [{"test": {"accuracy": score, "loss": 0.3}} for score in accuracies[rule]],
            "mean": {"test_accuracy": mean, "test_loss": 0.3},
            "std": {"test_accuracy": 0.01, "test_loss": 0.1},
            **{"test_tasks": 600, "total_tasks": 100, "seconds": 12.3, "residual_median": 45.6},
            **{"seed": [0, 1], "config": {"rule": rule, "tasks": "glyphs", "ways": 5}},
            "command": f"leastcontrol meta --rule {rule}",
        }

    files = {f"meta-glyphs-5-way-{rule}.json": summary(rule) for rule in accuracies}
    ranked = rows(tmp_path, "glyphs", files)
    assert [row[0] for row in ranked] == ["Reptile", "least control", "T1–T2"]
    # Reptile: −5 and 1 points, deviation √18, standard error 3. T1–T2: −1 and 7, error 4.
    assert [row[3] for row in ranked] == ["-2.00 ± 3.00", "", "3.00 ± 4.00"]
    files["meta-glyphs-5-way-reptile.json"]["seed"] = [0, 2]
    write(tmp_path, files)
    with pytest.raises(TablesError, match=r"have seed = \[0, 1\] and \[0, 2\]"):
        [table.markdown(tmp_path) for table in TABLES if table.marker == "glyphs"]


IMAGES = ["natural-1", "text-1", "natural-2", "text-2"]
# Of the images, for each of two seeds.
RATIOS = {
    "recurrent-backpropagation": [[20.0, 30.0, 22.0, 30.0], [22.0, 30.0, 26.0, 30.0]],
    "least-control": [[21.0, 33.0, 22.0, 31.0], [22.0, 33.0, 26.0, 31.0]],
}


def pictures(rule: str, **config: Any) -> dict[str, Any]:
    return {
        "mean": {"converged_fraction": 0.9876, "solve_steps": 12.34, "step_ms_median": 45.67},
        "per_seed": [
            {"pictures": [{"image": i, "psnr_test": r} for i, r in zip(IMAGES, seed, strict=True)]}
            for seed in RATIOS[rule]
        ],
        "config": {"rule": rule, "frequency": 30.0, "images": IMAGES, **config},
        "command": f"leastcontrol represent --rule {rule}",
    }


def test_two_rules_are_compared_picture_by_picture(tmp_path: Path):
    files = {f"represent-{rule}-30.json": pictures(rule) for rule in RATIOS}
    # Rules may differ in the clipping.
    files["represent-least-control-30.json"]["config"]["gradient_clip"] = 1.0
    solved = ["98.76", "12.3", "45.7"]
    assert rows(tmp_path, "pictures", files) == [
        # Means over the seeds: natural 21 and 24, deviation 3/√2; text 30 and 30.
        ["30", "recurrent backpropagation", "22.50 ± 2.12", "30.00 ± 0.00", *solved],
        # Natural 21.5 and 24, deviation 2.5/√2; text 33 and 31, deviation √2.
        ["30", "least control", "22.75 ± 1.77", "32.00 ± 1.41", *solved],
        # Natural 0.5 and 0, standard error 0.25; text 3 and 1, standard error 1.
        ["", "the second less the first", "+0.25 ± 0.25", "+2.00 ± 1.00", "", "", ""],
    ]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"learning_rate": 1e-5}, "have learning_rate = None and 1e-05"),
        ({"images": IMAGES[::-1]}, "are not those of the configuration"),
    ],
)
def test_unlike_runs_are_not_compared(config, sentence: str, tmp_path: Path):
    files = {f"represent-{rule}-30.json": pictures(rule) for rule in RATIOS}
    files["represent-least-control-30.json"] = pictures("least-control", **config)
    with pytest.raises(TablesError, match=sentence):
        rows(tmp_path, "pictures", files)


def test_a_layer_is_priced_by_the_hand_written_one(tmp_path: Path):
    ratios = {
        "custom_vjp": [1.0, 1.0, 1.0],
        "custom_vjp, as exact": [1.1, 1.2, 1.3],
        "settle": [0.98, 1.04, 1.1],
        "optimistix, gmres": [2, 2.5, 3],
        "unrolled": [1.4, 1.5, 1.6],
        "least control": [1.5, 1.6, 1.7],
    }
    row = {
        "size": 128,
        "contraction": "0.5 to 0.98",
        "milliseconds": {"custom_vjp": 3.21},
        "ratio_to_custom_vjp": ratios,
    }
    document = {"rows": [row], "command": "python benchmarks/settle_price.py"}
    cells = rows(tmp_path, "settle-price", {"settle-price.json": document})
    assert cells[0][:4] == ["128", "0.5 to 0.98", "3.21", "1.20 [1.10, 1.30]"]
    assert cells[0][4] == "1.04 [0.98, 1.10]"
    assert cells[0][5:] == ["2.50 [2.00, 3.00]", "1.50 [1.40, 1.60]", "1.60 [1.50, 1.70]"]


def test_a_way_that_says_nothing_has_no_count(tmp_path: Path):
    failures = [
        {"case": "none", "way": "by hand", "gradient": "finite", "error": 0.51, "says": "nothing"},
        {"case": "none", "way": "settle", "gradient": "finite", "found": 0, "says": "no rest"},
    ]
    memory = {"way": "settle", "temporary_mb": {"10": 1.0, "100": 1.0, "1000": 1.0}}
    ways = {"rows": [memory], "failures": failures, "command": "python benchmarks/settle_memory.py"}
    assert rows(tmp_path, "settle-failures", {"settle-memory.json": ways}) == [
        ["none", "by hand", "–", "finite", "5e-01", "nothing"],
        ["none", "settle", "0", "finite", "–", "no rest"],
    ]


def test_verdicts_are_counted_and_added_up(tmp_path: Path):
    verdicts = [{"failed": False}, {"failed": True}, {"failed": False}]
    experiments = [
        {"experiment": "first", "seconds": 90.0, "processor_seconds": 60, "verdicts": verdicts},
        {"experiment": "second", "seconds": 36.0, "verdicts": verdicts[:1]},
    ]
    document = {"command": "leastcontrol reproduce", "experiments": experiments}
    assert rows(tmp_path, "reproduce-quick", {"reproduce-quick.json": document}) == [
        ["`first`", "2", "1", "1.5", "1.0"],
        ["`second`", "1", "0", "0.6", "–"],
        ["all together", "3", "1", "2.1", "–"],
    ]
    experiments[1]["processor_seconds"] = 90
    (*_, total) = rows(tmp_path, "reproduce-quick", {"reproduce-quick.json": document})
    assert total == ["all together", "3", "1", "2.1", "2.5"]


def test_experiments_that_were_run_at_different_times_keep_their_commands(tmp_path: Path):
    figure = {"row": "one", "quantity": "angle", "expected": "–", "verdict": "none"}
    experiments = [
        {"experiment": name, "command": f"leastcontrol reproduce {name}", "verdicts": [verdict]}
        for name in ("first", "second")
        for verdict in [{**figure, "measured": f"of the {name}"}]
    ]
    document = {"command": "the last", "experiments": experiments}
    files = {"omniglot-5-way.json": document}
    assert rows(tmp_path, "reproduce-small", files) == [
        ["`first`", "one", "angle", "of the first", "–", "none"],
        ["`second`", "one", "angle", "of the second", "–", "none"],
    ]
    (table,) = (entry for entry in TABLES if entry.marker == "reproduce-small")
    commands = table.markdown(tmp_path).partition("```bash")[2]
    assert commands == "\nleastcontrol reproduce first\nleastcontrol reproduce second\n```"


def test_a_reasoner_s_lead_is_over_the_baseline_seed_by_seed(tmp_path: Path):
    exact = {"through-16-steps": [0.30, 0.40], "implicit": [0.31, 0.43]}

    def trial(share: float) -> dict[str, Any]:
        after = {n: {"exact": share, "cells": 0.75} for n in ("16", "64")}
        return {"weights": 12000, "test": {"after": after}}

    arms = [
        {"arm": arm, "rate": 0.01, "steps": 300, "per_seed": [trial(share) for share in shares]}
        for arm, shares in exact.items()
    ]
    summary = {"arms": arms, "seeds": [0, 1], "command": "python -m reasoner.study"}
    first, second = rows(tmp_path, "reasoner", {"reasoner.json": summary})
    assert first[:4] == ["through 16 steps", "0.01", "35.0 ± 7.1", ""]
    # 1 and 3 points: deviation √2, standard error 1.
    assert second[:4] == ["implicit", "0.01", "37.0 ± 8.5", "+2.0 ± 1.0"]
