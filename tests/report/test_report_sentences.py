"""What a report computes: its sentences, short labels, matrices, and what stands first."""

import json
import math
import re

import pytest
from test_report import write_run

from leastcontrol import report
from leastcontrol.report import _curves, _labels, _plots, _tables
from leastcontrol.report._conclusion import conclusion
from leastcontrol.report._confusion import confusion


def finish(folder, **figures):
    """Changes figures in the summaries of a run; a list has one for each seed."""
    paths = sorted(folder.rglob("summary.json"))
    for number, path in enumerate(paths):
        summary = json.loads(path.read_text(encoding="utf-8"))
        for name, value in figures.items():
            summary[name] = value[number] if isinstance(value, list) else value
        path.write_text(json.dumps(summary), encoding="utf-8")
    return folder


def read(*folders):
    return report.read(list(folders))


# --- sentences ------------------------------------------------------------------------------------


def test_the_better_run_is_named_with_the_standard_error_of_the_means(tmp_path):
    a = finish(write_run(tmp_path / "a", (1, 2)), test_accuracy=[0.90, 0.92])
    b = finish(write_run(tmp_path / "b", (1, 2)), test_accuracy=[0.80, 0.84])
    runs, _ = read(b, a)
    # 0.91 and 0.82; the variances of the means are 1e-4 and 4e-4.
    error = 100 * math.sqrt(1e-4 + 4e-4)
    sentence = conclusion(runs, [])[0]
    assert "Best of 2 runs in test accuracy, with 91.00 ± 1.41 %" in sentence
    assert f"a is 9.00 ± {error:.2f} percentage points better than b" in sentence
    assert "no clear difference" not in sentence


def test_a_difference_within_two_standard_errors_is_none(tmp_path):
    a = finish(write_run(tmp_path / "a", (1, 2)), test_accuracy=[0.90, 0.94])
    b = finish(write_run(tmp_path / "b", (1, 2)), test_accuracy=[0.89, 0.93])
    assert "no clear difference" in conclusion(read(a, b)[0], [])[0]


def test_one_seed_has_no_standard_error(tmp_path):
    a, b = (write_run(tmp_path / name, (seed,)) for name, seed in (("a", 1), ("b", 2)))
    assert (
        "b is 1.00 percentage points better than a in test accuracy, with too few seeds"
        in (conclusion(read(a, b)[0], [])[0])
    )


def test_runs_on_other_data_are_not_ranked_together(tmp_path):
    a = write_run(tmp_path / "a", (1,), data="digits")
    b = write_run(tmp_path / "b", (2,), data="mnist")
    first, second = conclusion(read(a, b)[0], [])[:2]
    assert first == "a reaches a test accuracy of 91.00 % (one seed)."
    assert second == "b reaches a test accuracy of 92.00 % (one seed)."


def test_of_squared_errors_the_smaller_is_better(tmp_path):
    folders = []
    for name, error in (("a", 0.25), ("b", 0.5)):
        folder = write_run(tmp_path / name)
        path = folder / "summary.json"
        path.write_text(json.dumps({"test_mean_squared_error": error}), encoding="utf-8")
        folders.append(folder)
    assert (
        "a is 0.25000 better than b in test squared error" in conclusion(read(*folders)[0], [])[0]
    )


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (0.02, 0.005, "r is 2.00 ± 0.50 percentage points better than s in test accuracy"),
        (-0.02, 0.005, "r is 2.00 ± 0.50 percentage points worse than s in test accuracy"),
        (0.0, 0.005, "r and s have the same test accuracy."),
        (0.02, None, "too few seeds"),
        (0.02, 0.011, "less than 2 standard errors: no clear difference"),
    ],
)
def test_paired_trials_are_concluded_from_by_their_differences(mean, error, expected):
    figures = {"mean": mean, "standard_error": error, "pairs": 3}
    difference = {"system": "q", "rule": "r", "less": "s", "test_accuracy": figures}
    first = conclusion([], [report.Comparison("c", None, (difference,))])[0]
    assert first.startswith("On q, ")
    assert expected in first
    assert ("no clear difference" in expected) == ("no clear difference" in first)


def test_what_was_not_finished_or_not_solved_is_said(tmp_path):
    a = finish(write_run(tmp_path / "a"), test_converged_fraction=0.75)
    path = a / "metrics.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"converged_fraction": 1.0', '"converged_fraction": 0.5', 1))
    b = write_run(tmp_path / "b", finished=False)
    sentences = conclusion(read(a, b)[0], [])
    # One of three epochs had half of its solves.
    assert "Not solved: 17 % of the solves in training of a; 25 % of the test samples of a." in (
        sentences
    )
    assert "Not finished: b (0 of 1 seeds)." in sentences
    assert "Every solve of every epoch found its rest point." in conclusion(read(b)[0], [])


def test_how_strong_control_was_is_said_beside_what_set_it(tmp_path):
    weak = {"alpha": 320.0, "removed_mean": 0.018, "removed_end": 0.02}
    asked = {"asked": "0.5", "removed_mean": 0.49, "removed_end": 0.5}
    a = finish(write_run(tmp_path / "a"), strength=weak)
    b = finish(write_run(tmp_path / "b"), strength=asked)
    # Summaries of before do not say what set it; the configuration does.
    c = finish(
        write_run(tmp_path / "c", alpha=6.4), strength={"removed_mean": 0.1, "removed_end": None}
    )
    d = write_run(tmp_path / "d")
    runs, _ = read(a, b, c, d)
    assert conclusion(runs, [])[-1] == (
        "Share of the loss that control removed at rest: 1.8 % in a (α = 320, 2.0 % in the last "
        "epoch, weak); 49.0 % in b (asked 0.5, 50.0 % in the last epoch); 10.0 % in c (α = 6.4)."
    )
    table = _tables.results(runs)
    headings = [column.heading for column in table.columns if not column.minor]
    place = headings.index("loss removed, %")
    assert headings[place : place + 3] == ["loss removed, %", "at the end, %", "strength"]
    shown = [[cell.text for cell in row[place : place + 3]] for row in _major(table)]
    assert shown == [
        ["1.8", "2.0", "α = 320"],
        ["49.0", "50.0", "asked 0.5"],
        ["10.0", "–", "α = 6.4"],
        ["–", "–", "–"],
    ]


def _major(table):
    places = [place for place, column in enumerate(table.columns) if not column.minor]
    return [[row[place] for place in places] for row in table.rows]


# --- labels and order -----------------------------------------------------------------------------


def test_short_names_are_their_own_labels():
    assert _labels.short_labels(["a", "b" * 22]) == ["a", "b" * 22]


def test_long_names_lose_what_they_share():
    names = [f"feedforward-{rule}-seeds-five" for rule in ("backpropagation", "least-control", "x")]
    assert _labels.short_labels(names) == ["backpropagation", "least-control", "x"]


@pytest.mark.parametrize("length", [1, 2, 12])
def test_labels_are_short_and_different(length):
    names = [f"{'a' * 30}{number:02}{'b' * 30}" for number in range(length)] + ["c"]
    labels = _labels.short_labels(names)
    assert max(map(len, labels)) <= _labels.LONGEST
    assert len(set(labels)) == len(names)


def test_what_differs_comes_first(tmp_path):
    a = write_run(tmp_path / "a", (1,), alpha=1, epochs_given=3)
    b = write_run(tmp_path / "b", (2,), alpha=2, epochs_given=3)
    runs, _ = read(a, b)
    changed = _tables.changed(runs)
    assert [column.heading for column in changed.columns] == ["run", "alpha", "seed"]
    first = _tables.configuration(runs[0], 1, _tables.differing_options(runs)).rows
    assert [row[0].text for row in first][:2] == ["alpha", "seed"]
    page = report.page(runs, [], [])
    assert page.index("What differs") < page.index(">Results<")


# --- curves and matrices --------------------------------------------------------------------------


def test_identical_curves_are_told_and_both_are_seen(tmp_path):
    folders = [write_run(tmp_path / name, (seed,)) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    runs, _ = read(*folders)
    assert [[run.name for run in group] for group in _curves.identical(runs, "loss")] == [
        ["a", "b"]
    ]
    plots = {plot.name: plot for plot in _plots.plots(runs)}
    assert plots["loss"].caption.endswith("dashes over each other: a = b.")
    with report._figures._drawn(plots["loss"], report._palette.ON_PAPER) as drawing:
        first, second, third = drawing.axes[0].get_lines()
        assert first.get_linestyle() == third.get_linestyle() == "-"
        assert second.get_linestyle() == "--"
        assert second.is_dashed()


def test_every_seed_is_a_thin_line(tmp_path):
    (run,) = read(write_run(tmp_path / "a", (2, 4)))[0]
    (plot,) = (plot for plot in _plots.plots([run]) if plot.name == "loss")
    with report._figures._drawn(plot, report._palette.ON_PAPER) as drawing:
        mean, *seeds = drawing.axes[0].get_lines()
        assert list(mean.get_ydata()) == pytest.approx([1 / n + 3 for n in (1, 2, 3)])
        for line, seed in zip(seeds, (2, 4), strict=True):
            assert list(line.get_ydata()) == pytest.approx([1 / n + seed for n in (1, 2, 3)])
            assert line.get_linewidth() < mean.get_linewidth() / 2


def test_a_run_has_one_look_in_all_plots(tmp_path):
    a, b = (write_run(tmp_path / name, (seed,)) for name, seed in (("a", 1), ("b", 2)))
    path = b / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps({**row, "removed": 0.5}) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    plots = {plot.name: plot for plot in _plots.plots(read(a, b)[0])}
    colours = []
    for name in ("loss", "removed"):
        with report._figures._drawn(plots[name], report._palette.ON_PAPER) as drawing:
            colours.append(drawing.axes[0].get_lines()[-1].get_color())
    assert colours[0] == colours[1]


def test_full_names_are_shown_on_hover(tmp_path):
    name = "a-run-with-a-name-that-no-legend-has-room-for"
    (run,) = read(write_run(tmp_path / name))[0]
    figures = {figure.name: figure.svg for figure in report.figures([run])}
    for part in ("run-0", "label-0"):
        assert f'<g id="loss-{part}"><title>{name}</title>' in figures["loss"]
    assert f'<span title="{name}">{run.label}</span>' in report.page([run], [], [])


COUNTS = {"counts": [[8, 1, 0], [0, 9, 1], [2, 0, 7]], "unsolved": [1, 0, 1]}


def test_answers_are_summed_over_the_seeds_and_told(tmp_path):
    (run,) = read(finish(write_run(tmp_path / "a", (1, 2)), confusion=COUNTS))[0]
    assert run.confusion.counts == ((16, 2, 0), (0, 18, 2), (4, 0, 14))
    shown = confusion(run)
    # Each seed has 30 samples, 4 wrong answers and 2 samples without one.
    assert shown.sentence == (
        "12 of 60 answers are wrong, 4 of them because no rest point was found; most often 2 taken "
        "for 0 (4); 0 taken for 1 (2); 1 taken for 2 (2)."
    )
    assert shown.headings == ("0", "1", "2", "unsolved")
    assert [cell["text"] for cell in shown.rows[0]["cells"]] == ["80", "10", "·", "10"]


def test_a_matrix_of_many_classes_is_told_and_not_drawn(tmp_path):
    many = {"counts": [[int(a == b) for a in range(40)] for b in range(40)], "unsolved": [0] * 40}
    (run,) = read(finish(write_run(tmp_path / "a"), confusion=many))[0]
    shown = confusion(run)
    assert shown.rows == ()
    assert shown.sentence == "All 40 answers are right."


def test_a_run_that_did_not_count_has_no_matrix(tmp_path):
    folder = write_run(tmp_path / "a", (1, 2))
    finish(folder / "seed-1", confusion=COUNTS)
    (run,) = read(folder)[0]
    assert run.confusion is None
    assert confusion(run) is None


@pytest.mark.parametrize(
    "counts",
    [None, [[]], {}, {"counts": [[1, 2]], "unsolved": [0]}, {"counts": [["<b>"]], "unsolved": [0]}],
    ids=str,
)
def test_counts_that_are_none_are_refused(counts, tmp_path):
    folder = finish(write_run(tmp_path / "a"), confusion=counts)
    with pytest.raises(report.ReportError, match="counts of answers are no square"):
        read(folder)


def test_the_switch_shows_columns_that_are_hidden_at_first(tmp_path):
    runs, _ = read(write_run(tmp_path / "a"))
    page = report.page(runs, [], [])
    minor = sum(column.minor for column in _tables.results(runs).columns)
    table = re.search(r'<div class="table cards">(.*?)</table>', page, re.DOTALL)[1]
    assert 'type="checkbox"' in table
    assert (
        len(re.findall(r'<th role="columnheader" scope="col" class="minor">', table)) == minor > 0
    )


# --- devices --------------------------------------------------------------------------------------

CERTIFICATE = {"counts": {"settled": 29, "drifting": 1}, "noise_floor": 0.012}


def test_what_a_twin_showed_of_a_device_and_what_limits_it_is_told(tmp_path):
    folder = finish(
        write_run(tmp_path / "a"),
        certificate=CERTIFICATE,
        remaining_error=0.25,
        limits=[["Noise changes the answer of 12% of the samples."]],
        mismatch={"response": 0.5, "angle": 31.5, "lines": 0.42},
        alignment={"angle": 21.25, "column_space": 0.875},
    )
    runs, _ = read(folder)
    page = report.page(runs, [], [])
    assert "<li>Noise changes the answer of 12% of the samples.</li>" in page
    table = _tables.certificate(runs[0], runs[0].trials[0], 0)
    shown = {row[0].text: row[1].text for row in table.rows}
    assert shown == {
        "settled": "29",
        "drifting": "1",
        "noise floor of an output": "0.012",
        "error left under control": "0.250",
        "mismatch of the responses, relative": "0.500",
        "angle to the responses without mismatch, °": "31.500",
        "mismatch of the control lines, logarithmic": "0.420",
        "angle of the feedback to the true response, °": "21.250",
        "part of the feedback in the row space of the true response": "0.875",
    }


def test_without_a_twin_nothing_is_claimed(tmp_path):
    folder = finish(
        write_run(tmp_path / "a"), certificate=CERTIFICATE, mismatch=None, alignment=None
    )
    runs, _ = read(folder)
    table = _tables.certificate(runs[0], runs[0].trials[0], 0)
    assert not [row for row in table.rows if "mismatch" in row[0].text or "angle" in row[0].text]
