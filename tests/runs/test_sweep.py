"""Sweeps: two tiny trials, what is chosen and written, going on, pruning, and several workers."""

import json
import subprocess
import sys
import threading

import jax
import pytest

from leastcontrol import files, training
from leastcontrol.cli import main
from leastcontrol.cli.verbs.train import Train
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.sweep_config import Choices, Range, SweepConfig

optuna = pytest.importorskip("optuna")

from leastcontrol.runs import sweep as sweeping  # noqa: E402
from leastcontrol.runs.sweep import sweep  # noqa: E402

FIXED = {"rule": "backpropagation", "hidden": (8,), "epochs": 2}
SMALL = SweepConfig(FIXED, {"learning_rate": Range(1e-3, 1e-1, True)})
FILE = """
[train]
rule = "backpropagation"
epochs = 1

[search]
learning-rate = { low = 1e-3, high = 1e-1, log = true }
hidden = [[8], [9]]
"""


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


def load(path):
    return files.read_record(path)


# Of a training that is made up; nobody reads it.
METRICS = object.__new__(training.EpochMetrics)


class Stopped(Exception):
    """Ends a worker after an epoch, as a signal would."""


# --- a sweep from the command line ----------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep of two trials."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "sweep.toml").write_text(FILE, encoding="utf-8")
    words = ["sweep", str(root / "sweep.toml"), "--out", str(root / "out"), "--trials", "2"]
    with jax.enable_x64(False), pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    return root / "out"


@pytest.mark.slow
def test_every_trial_is_the_run_of_its_options(swept):
    written = load(swept / "sweep.json")
    assert [row["number"] for row in written["trials"]] == [0, 1]
    for row in written["trials"]:
        folder = swept / "trials" / row["folder"] / "run"
        config, summary = load(folder / "config.json"), load(folder / "summary.json")
        assert row["options"] == {name: config[name] for name in ("learning_rate", "hidden")}
        assert 1e-3 <= row["options"]["learning_rate"] <= 1e-1
        assert row["options"]["hidden"] in ([8], [9])
        assert (row["complete"], row["epochs"]) == (True, 1)
        assert row["validation_accuracy"] == summary["validation_accuracy"]
    assert len({row["options"]["learning_rate"] for row in written["trials"]}) == 2


def test_the_best_on_the_validation_split_is_chosen_and_nothing_tells_of_the_test_set(swept):
    written = load(swept / "sweep.json")
    best = max(written["trials"], key=lambda row: row["validation_accuracy"])
    assert written["best"] == best
    assert "test" not in json.dumps({name: written[name] for name in ("best", "trials")})


def test_the_result_is_a_configuration_that_train_takes(swept, tmp_path):
    best = load(swept / "sweep.json")["best"]
    verb = Train.parse(["--config", str(swept / "best.toml"), "--out", str(tmp_path / "run")])
    assert verb.config == RunConfig.of(
        rule="backpropagation",
        epochs=1,
        hidden=tuple(best["options"]["hidden"]),
        learning_rate=best["options"]["learning_rate"],
    )


def test_a_finished_sweep_is_not_gone_on_with_until_it_is_given_more_trials(swept, monkeypatch):
    monkeypatch.setattr(sweeping, "run_training", lambda *_, **__: pytest.fail("trained"))
    before = load(swept / "sweep.json")["trials"]
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(swept.parent / "sweep.toml"), "--out", str(swept), "--trials", "2"])
    assert caught.value.code == 0
    assert load(swept / "sweep.json")["trials"] == before

    def run(config, *_, report, **__):
        raise ConfigError("Not this one.")

    monkeypatch.setattr(sweeping, "run_training", run)
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(swept.parent / "sweep.toml"), "--out", str(swept), "--trials", "3"])
    assert caught.value.code == 0
    after = load(swept / "sweep.json")["trials"]
    assert after[:2] == before
    assert (after[2]["complete"], after[2]["error"]) == (False, "Not this one.")


def test_a_folder_of_something_else_is_refused(swept, tmp_path):
    other = SweepConfig(FIXED, {"learning_rate": Range(1e-3, 1e-2, True)})
    with pytest.raises(ConfigError, match="holds another sweep"):
        sweep(other, swept, trials=2)
    (tmp_path / "mine").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a run folder"):
        sweep(other, tmp_path, trials=2)


# --- interruptions, pruning, failures -------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_trial_is_left_to_its_worker_and_goes_on_without_it(tmp_path, monkeypatch):
    def stop(*_):
        raise Stopped

    with pytest.raises(Stopped):
        sweep(SMALL, tmp_path, trials=1, report=stop)
    folder = tmp_path / "trials" / "0000"
    assert not (folder / "run" / "summary.json").exists()

    monkeypatch.setattr(sweeping, "run_training", lambda *_, **__: {"validation_accuracy": 0.01})
    with training.RunFolder.held(folder, resume=True):
        (row,) = sweep(SMALL, tmp_path, trials=2)["trials"]
    assert row["folder"] == "0001"
    monkeypatch.undo()

    epochs = []
    result = sweep(
        SMALL, tmp_path, trials=2, report=lambda *reported: epochs.append(reported[2].epoch)
    )
    assert epochs == [2]
    before, row = result["trials"]
    assert (before["folder"], row["folder"], row["epochs"]) == ("0001", "0000", 2)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["0000", "0001"]
    summary = load(folder / "run" / "summary.json")
    assert row["validation_accuracy"] == summary["validation_accuracy"]
    assert result["best"] == row


def test_a_hopeless_trial_is_stopped_after_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda _: True)
    result = sweep(SMALL, tmp_path, trials=1)
    (row,) = result["trials"]
    assert (row["complete"], row["epochs"], row["error"]) == (False, 1, None)
    assert result["best"] is None
    assert not (tmp_path / "best.toml").exists()
    assert not (tmp_path / "trials" / "0000" / "run" / "summary.json").exists()


def test_a_worse_trial_is_told_from_a_better_one(tmp_path, monkeypatch):
    """The median of what is reported is what stops a trial; the accuracies are made up."""
    accuracies = iter([0.9] * 5 + [0.1])
    epochs = []

    def run(config, path, *, report, **_):
        path.mkdir()
        accuracy = next(accuracies)
        for epoch in (1, 2):
            line = json.dumps({"validation": {"accuracy": accuracy}}) + "\n"
            with (path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(line)
            epochs.append((accuracy, epoch))
            report(0, METRICS)
        return {"validation_accuracy": accuracy}

    monkeypatch.setattr(sweeping, "run_training", run)
    result = sweep(SMALL, tmp_path, trials=6)
    assert epochs == [(0.9, 1), (0.9, 2)] * 5 + [(0.1, 1)]
    assert [row["complete"] for row in result["trials"]] == [True] * 5 + [False]


def test_a_training_that_fails_is_a_trial_that_is_not_chosen(tmp_path, monkeypatch):
    def run(config, *_, **__):
        if config.system.hidden == (9,):
            raise training.TrainingError("Epoch 1 met nothing good.", None)
        return {"validation_accuracy": 0.2}

    monkeypatch.setattr(sweeping, "run_training", run)
    config = SweepConfig({"rule": "backpropagation"}, {"hidden": Choices(((8,), (9,)))})
    result = sweep(config, tmp_path, trials=8)
    assert len(result["trials"]) == 8
    for row in result["trials"]:
        assert row["complete"] == (row["options"]["hidden"] == (8,))
        assert row["error"] == (None if row["complete"] else "Epoch 1 met nothing good.")


@pytest.mark.parametrize("store", ["nonsense", "sqlite:////no/such/folder/file.db", "none://x"])
def test_a_store_that_cannot_be_used_is_refused(store, tmp_path):
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        sweep(SMALL, tmp_path / "out", trials=1, store=store)
    assert "\n" not in str(caught.value)


def test_a_store_may_lie_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "run_training", lambda *_, **__: {"validation_accuracy": 0.5})
    store = f"sqlite:///{tmp_path / 'shared.db'}"
    # Two machines, each with a folder of its own.
    first = sweep(SMALL, tmp_path / "one", trials=1, store=store)
    second = sweep(SMALL, tmp_path / "other", trials=2, store=store)
    assert [row["number"] for row in first["trials"]] == [0]
    assert [row["number"] for row in second["trials"]] == [0, 1]
    assert not (tmp_path / "one" / "study.db").exists()


def test_who_waits_for_a_folder_gets_its_turn(tmp_path):
    order = []

    def second():
        with training.RunFolder.held(tmp_path, resume=True, wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with training.RunFolder.held(tmp_path, resume=True):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--trials", "0", "--out", "out"], "--trials is 0"), ([], "--out DIR")],
)
def test_mistakes_are_one_sentence(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(FILE, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "sweep.toml", *words])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path):
    (tmp_path / "sweep.toml").write_text(FILE, encoding="utf-8")
    words = ["sweep", "sweep.toml", "--out", "out", "--trials", "4"]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "leastcontrol.cli", *words],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    for said in errors:
        # Both have worked, and nobody has warned of anything.
        assert said
        assert all(line.startswith("trial ") for line in said.splitlines()), said
    written = load(tmp_path / "out" / "sweep.json")
    # Both may have begun the last one at the same moment.
    assert len(written["trials"]) in (4, 5)
    folders = [row["folder"] for row in written["trials"]]
    assert len(set(folders)) == len(folders)
    assert all(row["complete"] or row["epochs"] for row in written["trials"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["distribution_json = '{'", "distribution_json = '[]'"])
def test_a_damaged_store_is_one_sentence(fault, tmp_path, monkeypatch, capsys):
    import sqlite3

    from leastcontrol.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return caught.value.code

    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(
        '[train]\ndata = "digits"\nhidden = [4]\nepochs = 1\nbatch-size = 512\n'
        "[search]\nlearning-rate = { low = 1e-4, high = 1e-2 }\n",
        encoding="utf-8",
    )
    assert call("sweep", "sweep.toml", "--trials", "1", "--out", "sweep") == 0
    with sqlite3.connect("sweep/study.db") as database:
        database.execute(f"UPDATE trial_params SET {fault}")
    capsys.readouterr()
    assert call("sweep", "sweep.toml", "--trials", "2", "--out", "sweep") == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: The store ")
    assert error.count("\n") == 1
