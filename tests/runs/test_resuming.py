"""Interrupted runs: what is kept, what goes on, and that it ends as if nothing had happened."""

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from leastcontrol import files, training
from leastcontrol.cli import main
from leastcontrol.runs import runner, samples, train, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.measures import summary_measures
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training

SMALL = RunConfig.of(
    rule="backpropagation", hidden=(8,), epochs=4, learning_rate=1e-2, final_learning_rate=1e-3
)
RULES = {
    "backpropagation": SMALL,
    # Feedback weights that learn, from noise.
    "linear feedback": SMALL.with_options(
        rule="least-control", controller="linear-feedback", noise_steps=5, weight_decay=1e-4
    ),
    # κ follows the share from step to step.
    "strength": SMALL.with_options(rule="least-control", strength="0.2:0.6"),
    "warm start": SMALL.with_options(rule="least-control", start="warm"),
}
TIMES = ("step_ms", "seconds", "step_ms_median")


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


class Stopped(Exception):
    """Ends a run after an epoch, as a signal would."""


def run_until(epoch, config, out, **options):
    """Runs until the end of an epoch, and no further."""

    def report(_, metrics):
        if metrics.epoch == epoch:
            raise Stopped

    with contextlib.suppress(Stopped):
        run_training(config, out, report=report, **options)


def timeless(value):
    if isinstance(value, dict):
        return {name: timeless(entry) for name, entry in value.items() if name not in TIMES}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def results(folder):
    """Returns all that a run leaves, its times apart."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.endswith(".json"):
            kept[name] = timeless(files.read_record(path))
        elif name.endswith(".jsonl"):
            lines = path.read_text(encoding="utf-8").splitlines()
            kept[name] = [timeless(files.parse_record(line, path)) for line in lines]
        elif path.name.startswith("state-"):
            sealed = training.read_sealed(path, "training state")
            kept[name] = (timeless(sealed.header), sealed.content)
        elif path.is_file():
            kept[name] = path.read_bytes()
    return kept


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folders of runs that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    with jax.enable_x64(False):
        for name, config in RULES.items():
            run_training(config, root / name)
    return root


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_a_resumed_run_leaves_what_an_uninterrupted_one_does(name, whole, tmp_path):
    folder = tmp_path / "run"
    run_until(2, RULES[name], folder, resume=True)
    assert not (folder / "summary.json").exists()
    run_training(RULES[name], folder, resume=True)
    assert results(folder) == results(whole / name)


@pytest.mark.slow
def test_several_seeds_go_on_with_the_one_that_was_interrupted(tmp_path):
    config = SMALL.with_options(epochs=2, seeds=(3, 4))
    run_training(config, tmp_path / "whole")
    reports = []

    def report(seed, metrics):
        reports.append((seed, metrics.epoch))
        if (seed, metrics.epoch) == (4, 1):
            raise Stopped

    with pytest.raises(Stopped):
        run_training(config, tmp_path / "run", report=report)
    run_training(
        config,
        tmp_path / "run",
        resume=True,
        report=lambda seed, metrics: reports.append((seed, metrics.epoch)),
    )
    assert reports == [(3, 1), (3, 2), (4, 1), (4, 2)]
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_a_finished_run_is_left_as_it_is(whole, tmp_path, monkeypatch):
    folder = whole / "backpropagation"
    before = results(folder)
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
    summary = run_training(SMALL, folder, resume=True)
    assert summary == files.read_record(folder / "summary.json")
    assert results(folder) == before


@pytest.mark.parametrize("moment", ["append_metrics", "save_weights"])
def test_nothing_is_lost_where_the_process_ends_after_a_checkpoint(
    moment, whole, tmp_path, monkeypatch
):
    calls = []

    def end(*_, **__):
        calls.append(None)
        if len(calls) == 2:
            raise Stopped

    # Instead of writing the figures, or the weights, of an epoch.
    monkeypatch.setattr(training.RunFolder, moment, end)
    with pytest.raises(Stopped):
        run_training(SMALL, tmp_path / "run")
    monkeypatch.undo()
    run_training(SMALL, tmp_path / "run", resume=True)
    resumed, expected = results(tmp_path / "run"), results(whole / "backpropagation")
    if moment == "save_weights":
        # Nothing at all had been written in their place, whatever epoch was the best.
        resumed.pop("checkpoints/best.eqx")
        expected.pop("checkpoints/best.eqx")
    assert resumed == expected


def test_half_a_line_and_half_a_file_are_removed(whole, tmp_path):
    folder = tmp_path / "run"
    run_until(2, SMALL, folder)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "lo')
    (folder / "checkpoints" / ".state-000003.eqx.123").write_bytes(b"half")
    (folder / ".summary.json.123").write_bytes(b"{")
    (folder / ".mine").write_bytes(b"")
    run_training(SMALL, folder, resume=True)
    (folder / ".mine").unlink()
    assert results(folder) == results(whole / "backpropagation")


def test_a_process_that_ended_before_its_configuration_was_written_left_a_new_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.json.123").write_bytes(b"{")
    run_until(1, SMALL, folder, resume=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
    ]


def test_the_seconds_of_all_parts_are_counted(tmp_path):
    run_until(3, SMALL, tmp_path)
    state = tmp_path / "checkpoints" / "state-000003.eqx"
    sealed = training.read_sealed(state, "training state")
    header = {**sealed.header, "seconds": 1000.0}
    training.write_sealed(state, "training state", header, sealed.arrays(fresh()))
    assert run_training(SMALL, tmp_path, resume=True)["seconds"] > 1000


def fresh(config=SMALL):
    splits = samples.load_splits(config)
    system = trained.build_system(config, splits, 0)
    start = training.untrained(
        system, config.build_rule(), splits.train, config.build_training(), seed=0
    )
    return start.system, start.feedback, start.optimiser_states


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "epochs"), [(1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_the_newest_checkpoints_are_kept(keep, epochs, tmp_path):
    run_training(SMALL, tmp_path, keep_last=keep)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("state-*"))
    assert names == [f"state-{epoch:06d}.eqx" for epoch in epochs]


def test_at_least_one_checkpoint_is_kept(tmp_path):
    with pytest.raises(ValueError, match="`keep_last` is 0"):
        training.Checkpoints(training.RunFolder(tmp_path), {}, 0)


def test_a_full_disk_leaves_the_checkpoints_that_are_there(tmp_path, monkeypatch):
    run_until(2, SMALL, tmp_path)
    before = results(tmp_path)
    replace = os.replace

    def full(source, target, **options):
        if str(target).startswith("state-"):
            raise OSError(28, "No space left on device")
        replace(source, target, **options)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(training.FolderError, match=r"state-000003\.eqx could not .*: No space"):
        run_training(SMALL, tmp_path, resume=True)
    assert results(tmp_path) == before


# --- what is refused ------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tmp_path):
    run_until(2, SMALL, tmp_path / "run")
    return tmp_path / "run"


def refused(folder, message, error=training.FolderError, config=SMALL):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(error, match=message) as caught:
        run_training(config, folder, resume=True)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_is_good(interrupted, whole):
    state = interrupted / "checkpoints" / "state-000002.eqx"
    content = state.read_bytes()
    flipped = bytearray(content)
    flipped[-5] ^= 1
    for damaged in (
        b"",
        content[:-1],
        content[: len(content) // 2],
        bytes(flipped),
        b"x" + content,
    ):
        state.write_bytes(damaged)
        refused(interrupted, r"is damaged.*; remove that file, .* from state-000001\.eqx\.$")
    state.unlink()
    run_training(SMALL, interrupted, resume=True)
    assert results(interrupted) == results(whole / "backpropagation")


def test_a_checkpoint_that_is_none_never_runs_code(interrupted, tmp_path):
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self):
            return open, (str(marker), "w")

    for state in (interrupted / "checkpoints").glob("state-*"):
        state.write_bytes(pickle.dumps(Bomb()))
    refused(interrupted, "is no training state")
    assert not marker.exists()


@pytest.mark.parametrize("foreign", ["run", "shapes", "kind", "figures", "header"])
def test_a_foreign_checkpoint_is_refused(foreign, interrupted):
    state = interrupted / "checkpoints" / "state-000002.eqx"
    sealed = training.read_sealed(state, "training state")
    header, kind = sealed.header, "training state"
    arrays = sealed.arrays(fresh())
    if foreign == "run":
        header = {**header, "run": {**header["run"], "alpha": 1.0}}
    if foreign == "shapes":
        arrays = arrays[:1]
    if foreign == "figures":
        header = {**header, "metrics": [{"epoch": 1}]}
    if foreign == "kind":
        kind, header = "model", {**header, "kind": "model"}
    if foreign == "header":
        header = {**header, "version": 99}
    training.write_sealed(state, kind, header, arrays)
    message = {
        "run": "of another run",
        "shapes": "of other shapes",
        "kind": "is a model of",
        "figures": "has no figures",
        "header": "of version 99",
    }[foreign]
    refused(interrupted, f"{message}.*; remove that file")


def test_other_options_are_refused(interrupted):
    for name, value, said in (
        ("epochs", 5, "holds a run with epochs = 4, and now it is 5"),
        ("hidden", (9,), "hidden = 8, and now it is 9"),
        ("seed", 7, "seeds = 0, and now it is 7"),
    ):
        config = SMALL.with_options(**{name: value})
        refused(interrupted, said, ConfigError, config)


def test_data_may_lie_elsewhere_by_then(tmp_path):
    here, there = (RunConfig.of(data="mnist", data_dir=Path(name)) for name in ("a", "b"))
    folder = training.RunFolder.create(tmp_path / "run")
    runner.claim(here, folder)
    runner.claim(there, folder)
    with pytest.raises(ConfigError, match="alpha"):
        runner.claim(there.with_options(alpha=1.0), folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "note").write_text("mine", encoding="utf-8")
    (tmp_path / ".note.json.123").write_text("mine", encoding="utf-8")
    refused(tmp_path, "is not a run folder", ConfigError)


def test_a_folder_that_another_process_writes_is_refused(interrupted):
    with (
        training.RunFolder.held(interrupted, resume=True),
        pytest.raises(training.FolderError, match="is being written by another process"),
    ):
        run_training(SMALL, interrupted, resume=True)


FIGURES = (*summary_measures(SMALL), "step_ms_median", "seconds")


def test_a_damaged_summary_is_refused(whole, tmp_path):
    run_until(4, SMALL, tmp_path)
    (tmp_path / "summary.json").write_bytes(b"{")
    refused(tmp_path, r"summary\.json cannot be read as JSON", ConfigError)


@pytest.mark.parametrize("summary", [[], {}, {"test_accuracy": 1.0}, dict.fromkeys(FIGURES, "x")])
def test_a_summary_without_its_figures_is_refused(summary, tmp_path):
    files.write_json(tmp_path / "summary.json", summary)
    with pytest.raises(training.FolderError, match=r"summary\.json is no summary .*: remove it"):
        runner.finished(train.TrainingJob(SMALL), training.RunFolder(tmp_path))


def test_a_figure_that_was_not_finite_is_none_again(tmp_path):
    solve = dict.fromkeys(train.SOLVE_FIGURES, 1.0)
    written = {**dict.fromkeys(FIGURES, 1.0), "test_nll": math.nan, "solve": solve, "seed": 0}
    files.write_json(tmp_path / "summary.json", written)
    job = train.TrainingJob(SMALL)
    figures = job.figures(runner.finished(job, training.RunFolder(tmp_path)))
    assert math.isnan(figures.pop("test_nll"))
    assert figures == dict.fromkeys(figures, 1.0)


# --- processes ------------------------------------------------------------------------------------

COMMAND = [
    *("train", "--hidden", "8", "--rule", "backpropagation", "--epochs", "300"),
    *("--learning-rate", "1e-2", "--final-learning-rate", "1e-3", "--resume"),
]


def start(out):
    return subprocess.Popen(
        [sys.executable, "-m", "leastcontrol.cli", *COMMAND, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_process_that_is_asked_to_end_saves_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    last = error.splitlines()[-1]
    assert last.startswith("leastcontrol: Terminated after epoch")
    assert "--resume" in last
    assert "Traceback" not in error
    epoch = int(last.split("epoch ")[1].split()[0])
    assert (tmp_path / "run" / "checkpoints" / f"state-{epoch:06d}.eqx").is_file()


@pytest.mark.slow
def test_a_training_that_is_killed_at_random_ends_in_the_same_bits():
    script = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "4"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills" in done.stdout


def test_the_command_line_goes_on(whole, tmp_path, capsys):
    run_until(1, SMALL, tmp_path / "run")
    command = ["train", "--rule", "backpropagation", "--hidden", "8", "--epochs", "4"]
    rates = ["--learning-rate", "1e-2", "--final-learning-rate", "1e-3"]
    with pytest.raises(SystemExit) as caught:
        main([*command, *rates, "--out", str(tmp_path / "run"), "--resume"])
    assert caught.value.code == 0
    assert "epoch   1" not in capsys.readouterr().err
    resumed, expected = results(tmp_path / "run"), results(whole / "backpropagation")
    for kept in (resumed, expected):
        kept["summary.json"].pop("command")
    assert resumed == expected


def test_no_checkpoint_at_all_is_a_mistake(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--out", str(tmp_path / "run"), "--keep-last", "0"])
    assert caught.value.code == 2
    assert "--keep-last is 0" in capsys.readouterr().err
