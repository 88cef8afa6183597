"""What a terminal shows: tables that fit, curves of characters, and work in progress."""

import re
import sys

import pytest

from leastcontrol.cli import _console, _display, digits
from leastcontrol.cli._display import Table, Work, curve, matrix
from leastcontrol.cli.verbs import compare, reproduce, train
from leastcontrol.papers import registry
from leastcontrol.papers.reproduction import Judged
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.measures import summary_measures


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys):
    """Returns what was printed, none of it wider than the terminal."""
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    return out


def pieces(out):
    """Returns the words of all cells, with those that were wrapped at a hyphen joined again."""
    rows = [re.split("[│┃]", line)[1:-1] for line in out.splitlines() if line[:1] in "│┃"]
    columns = [" ".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)]
    return re.sub("- (?=[a-z])", "-", " ".join(columns)).split()


def has_whole(out, *names):
    """Checks that the words of names are there, and that nothing was cut."""
    assert "…" not in out
    words = pieces(out)
    for name in names:
        for word in name.split():
            assert word in words, word


def test_a_command_to_type_is_one_that_can_be_run(tmp_path, monkeypatch):
    folder = tmp_path / "an environment" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert _console.program() == "leastcontrol"
    (folder / "leastcontrol").touch(mode=0o755)
    assert _console.program() == "'an environment/bin/leastcontrol'"
    # A shell does not look for a bare name in the current folder.
    monkeypatch.chdir(folder)
    assert _console.program() == "./leastcontrol"
    monkeypatch.setenv("PATH", str(folder))
    assert _console.program() == "leastcontrol"


def test_a_matrix_of_twelve_classes_fits_80_columns():
    headings = [*map(str, range(12)), "unsolved"]
    text = matrix(headings, [(str(k), ["100"] * 13) for k in range(12)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    # Every column ends below its heading.
    place = lines[0].index("unsolved") + len("unsolved")
    assert {line.rindex("100") + 3 for line in lines[1:]} == {place}


# --- the tables of the verbs ----------------------------------------------------------------------

SHARES = {"alpha": 6.4, "removed_mean": 0.111, "removed_end": 0.122}
FIGURES = {"test_accuracy": 0.98123, "test_nll": 0.1234, "step_ms_median": 12.34}
SOLVE = {"converged_fraction": 0.9999, "residual_max": 1e-5, "steps_mean": 12.3, "steps_max": 45}


def test_the_table_of_make_train_cuts_no_word(capsys):
    summary = {"mean": FIGURES, "std": FIGURES, "solve": SOLVE}
    digits.print_summaries(
        {"least control": {**summary, "strength": SHARES}, "backpropagation": summary}, 5
    )
    out = shown(capsys)
    has_whole(out, "least control", "backpropagation", "98.12", "11.1", "12.2", "99.99")
    assert "98.12 ± 98.12" in out
    assert "11.1 / 12.2" in out


RULES = (
    "backpropagation",
    "centred-equilibrium-propagation",
    "least-control --controller dynamic-inversion --strength 0.05:0.9",
)


@pytest.mark.parametrize("systems", [("feedforward",), ("feedforward", "deep-equilibrium")])
@pytest.mark.parametrize("target", [None, 0.95])
def test_the_tables_of_compare_cut_no_word(systems, target, capsys):
    names = [name for _, name, _, _ in compare._COLUMNS]
    mean = {**dict.fromkeys(names, 0.98123), "removed_mean": 0.111, "removed_end": 0.122}
    if target is None:
        mean |= {"epochs_to_target": None, "seconds_to_target": None}
    errors = dict.fromkeys(mean, 0.01234)
    arms = [
        {
            "system": system,
            "rule": rule,
            "strength": None if rule == RULES[0] else "α = 6.4",
            "mean": {**mean, "removed_mean": None, "removed_end": None}
            if rule == RULES[0]
            else mean,
            "standard_error": errors,
        }
        for system in systems
        for rule in RULES
    ]
    paired = {name: {"mean": 0.0123, "standard_error": 0.0012} for name in names}
    differences = [
        {"system": system, "rule": rule, "less": RULES[0], **paired}
        for system in systems
        for rule in RULES[1:]
    ]
    compare._print_comparison({"arms": arms, "differences": differences, "target": target})
    out = shown(capsys)
    above, below = re.split("less the first rule.*\n", out)
    for part in (above, below):
        has_whole(part, *(RULES if part is above else RULES[1:]))
    assert "98.12 ± 1.23" in above
    assert "11.1 / 12.2" in above
    assert "1.23 ± 0.12" in below
    # What was left out is told.
    assert "Left out, for a wider terminal: " in above


def test_the_table_of_reproduce_cuts_no_word(capsys):
    judged = [
        Judged(
            row.name,
            each.quantity.name,
            "98.11 ± 0.07",
            each.shown(),
            "within 2 of it",
            strength="1.8 % (α = 320)",
        )
        for experiment in registry.EXPERIMENTS
        if isinstance(experiment, registry.Experiment)
        for row in experiment.rows
        for each in row.expectations
    ]
    table = registry.EXPERIMENTS[0]
    reproduce._print_judged(table, table.reduction, judged)
    out = shown(capsys)
    has_whole(out, *(each.row for each in judged), *(each.quantity for each in judged))


def test_the_summary_of_train_cuts_no_word(capsys):
    config = RunConfig.of()
    measures = summary_measures(config)
    summary = {**dict.fromkeys(measures, 0.98123), **FIGURES, "solve": SOLVE, "strength": SHARES}
    line = ("validation accuracy by epoch", f"{curve(list(range(60)))} 10.00 → 98.12 %")
    train._print_summary(summary, measures, line)
    out = shown(capsys)
    has_whole(out, "strength of control", "6.4", "loss removed by control", "11.1", "12.2")
    assert "▁" in out


# --- tables ---------------------------------------------------------------------------------------


def test_columns_that_find_no_room_are_left_out_from_the_right(capsys):
    table = Table("name", *(f"figure {n}" for n in range(12)), numbers=True, kept=2)
    table.add_row("a-name", *("0.123 ± 0.456" for _ in range(12)))
    table.show()
    out = shown(capsys)
    assert "figure 3" in out.split("Left out")[0]
    assert "Left out, for a wider terminal: figure 4; figure 5;" in " ".join(out.split())


def test_nothing_is_left_out_where_there_is_room(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    table = Table("name", *(f"figure {n}" for n in range(12)), numbers=True, kept=2)
    table.add_row("a-name", *("0.123 ± 0.456" for _ in range(12)))
    table.show()
    assert "Left out" not in capsys.readouterr().out


def test_a_word_that_is_wider_than_the_terminal_is_broken_and_whole(capsys):
    table = Table("file", "sample")
    table.add_row("x" * 200, "1")
    table.show()
    assert shown(capsys).count("x") == 200


# --- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, 0.0], "█▁"),
        ([2.0, 2.0], "▁▁"),
        ([0.0, None, float("nan"), 1.0], "▁  █"),
        ([], ""),
        ([None], ""),
        ([*([0.0] * 48), *([1.0] * 48)], "▁" * 12 + "█" * 12),
    ],
)
def test_a_curve_spans_its_range(values, expected):
    assert curve(values) == expected


# --- work in progress -----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the display sees."""
    now = [0.0]
    monkeypatch.setattr(_display.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_lines_come_at_a_modest_rate(capsys, clock):
    with Work(100, "epochs") as work:
        for epoch in range(1, 101):
            clock[0] += 1.0
            work.at(f"epoch {epoch}", epoch, last=epoch == 100)
    lines = capsys.readouterr().err.splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    # The first, one for each pause, and the last.
    assert numbers == [*range(1, 100, int(_display.PAUSE)), 100]
    # At epoch 11 ten of 99 seconds have passed.
    assert lines[1] == "epoch 11  1:29 left"
    assert lines[-1] == "epoch 100"


def test_work_that_goes_on_is_estimated_by_what_is_done_now(capsys, clock):
    with Work(100, "epochs") as work:
        work.at("epoch 50", 50)
        clock[0] += 20.0
        work.at("epoch 60", 60)
    assert capsys.readouterr().err.splitlines()[-1] == "epoch 60  1:20 left"


def test_a_terminal_has_one_line_with_a_bar_and_the_time_that_is_left(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    work = Work(100, "epochs")
    work.at("a long line of figures", 25, short="seed 0, validation 98.12 %")
    work.at("a long line of figures", 50, short="seed 0, validation 98.12 %")
    console = work.display.console
    assert console.is_terminal
    lines = console.render_lines(work.display.get_renderable(), pad=False)
    (line,) = ["".join(segment.text for segment in one) for one in lines]
    assert len(line) <= 80
    assert "seed 0, validation 98.12 %" in line
    assert "50/100 epochs" in line
    assert "left" in line


def test_downloads_are_shown(capsys, clock):
    with Work() as work:
        work.download("file.gz", 10**6, 4 * 10**6)
        work.download("file.gz", 2 * 10**6, 4 * 10**6)
        clock[0] += _display.PAUSE
        work.download("file.gz", 3 * 10**6, None)
    assert capsys.readouterr().err.splitlines() == [
        "downloading file.gz, 1.0 MB of 4.0 MB",
        "downloading file.gz, 3.0 MB",
    ]


def test_downloads_are_shown_where_no_other_work_is(capsys):
    from leastcontrol.data._download import _shown

    with _display.only_downloads():
        _shown.get()("file.gz", 10**6, 10**6)
        _shown.get()("other.gz", 10**6, 10**6)
    assert _shown.get() is None
    assert capsys.readouterr().err.splitlines() == [
        "downloading file.gz, 1.0 MB of 1.0 MB",
        "downloading other.gz, 1.0 MB of 1.0 MB",
    ]
