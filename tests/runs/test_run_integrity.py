"""What a run leaves is read as it was written or refused, and is written nowhere else."""

import io
import json
import os
import shutil
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import stored_weights

from leastcontrol import files, report, training
from leastcontrol.cli import main
from leastcontrol.runs import folders, meta, models, runner, samples, train, trained
from leastcontrol.runs.comparison import Arm, compare
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training

OLD = Path(__file__).resolve().parents[1] / "old_folders"
SMALL = RunConfig.of(
    hidden=(4,), rule="backpropagation", epochs=3, batch_size=512, seed=1, validation_fraction=0.5
)


@pytest.fixture(autouse=True, scope="module")
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def finished(single_precision, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_training(SMALL, folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def kept(folder):
    """What a run leaves, times apart: weights as bytes, figures as numbers."""
    weights = {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("[bl]*.eqx")}
    rows = folders.read_metrics(folder)
    summary = files.read_record(folder / "summary.json")
    for row in (*rows, summary):
        for name in ("step_ms", "seconds", "step_ms_median", "command", "commit"):
            row.pop(name, None)
    return {**weights, "metrics": rows, "summary": summary}


def call(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["config.json", "metrics.jsonl", "summary.json", "last", "best", "state-000003"],
)
def test_a_changed_byte_is_seen_wherever_it_is(run, name):
    path = run / name if "." in name else run / "checkpoints" / f"{name}.eqx"
    like = training.untrained(
        *(trained.build_system(SMALL, samples.load_splits(SMALL), 1), SMALL.build_rule()),
        samples.load_splits(SMALL).train,
        SMALL.build_training(),
        seed=1,
    )
    folder, identity = training.RunFolder(run), SMALL.identity()
    job = train.TrainingJob(SMALL)

    def read():
        if name == "config.json":
            return folders.read_config(run)
        if name == "metrics.jsonl":
            return folders.read_metrics(run)
        if name == "summary.json":
            return runner.finished(job, folder)
        if name.startswith("state"):
            return training.Checkpoints(folder, identity).restore(like)
        return folder.load_weights(name, (like.system, like.feedback), identity)

    expected, harmless = read(), 0
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            loaded = read()
        except (files.FileError, ConfigError):
            continue
        # Two decimals may stand for one number: then nothing has changed.
        assert loaded == expected, f"byte {place}"
        harmless += 1
    assert harmless < len(whole) / 100


@pytest.mark.parametrize("verb", ["evaluate", "export", "report", "resume"])
@pytest.mark.parametrize("change", ["activation", "preprocessing", "checksum too"])
def test_a_configuration_that_was_edited_is_refused(run, tmp_path, verb, change, capsys):
    path = run / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= (
        {"preprocessing": "standardise"} if change == "preprocessing" else {"activation": "relu"}
    )
    if change == "checksum too":
        values = files.with_checksum({n: v for n, v in values.items() if n != "checksum"})
    path.write_text(json.dumps(values), encoding="utf-8")
    commands = {
        "evaluate": ("evaluate", run),
        "export": ("export", run, "--out", tmp_path / "model"),
        "report": ("report", run, "--sample", 0, "--out", tmp_path / "page.html"),
        "resume": (
            *("train", "--hidden", 4, "--rule", "backpropagation", "--epochs", 3, "--seed", 1),
            *("--batch-size", 512, "--validation-fraction", 0.5, "--out", run, "--resume"),
        ),
    }
    assert call(*commands[verb]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_a_report_of_a_finished_run_leaves_no_line_out(run):
    """A last line without its end is one that is still being written, while a run goes on."""
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(report.ReportError, match="ends within a line"):
        report.read([run])
    (run / "summary.json").unlink()
    (shown,), _ = report.read([run])
    assert len(shown.trials[0].epochs["epoch"]) == SMALL.optimiser.epochs - 1


def test_weights_of_another_run_are_refused(run, tmp_path):
    other = SMALL.with_options(activation="relu")
    run_training(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "checkpoints" / "last.eqx", run / "checkpoints")
    with pytest.raises(training.FolderError, match="of another run"):
        trained.evaluate_run(run)


def test_a_run_whose_states_are_all_damaged_is_made_again(run, finished, capsys):
    """What the sentences say is done, one after another, until the run goes on."""
    (run / "summary.json").unlink()
    states = sorted((run / "checkpoints").glob("state-*.eqx"))
    for state in states:
        state.write_bytes(state.read_bytes()[:-1])
    for state in reversed(states):
        with pytest.raises(files.FileError, match="remove that file") as caught:
            run_training(SMALL, run, resume=True)
        assert state.name in str(caught.value)
        state.unlink()
    run_training(SMALL, run, resume=True)
    assert kept(run) == kept(finished)


def test_another_precision_is_no_reason_to_remove_anything(run):
    (run / "summary.json").unlink()
    with jax.enable_x64(True), pytest.raises(files.FileError) as caught:
        run_training(SMALL, run, resume=True)
    assert "float32" in str(caught.value)
    assert "JAX_ENABLE_X64=0" in str(caught.value)
    assert "remove" not in str(caught.value)


def test_a_folder_that_was_moved_is_not_written_by_its_name(run, tmp_path):
    def contents(folder):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    (run / "summary.json").unlink()
    (run / "checkpoints" / "state-000003.eqx").unlink()
    place = tmp_path / "moved"

    def move(seed, metrics):
        os.rename(run, place)
        shutil.copytree(place, run)
        (run / "config.json").write_text("of another run", encoding="utf-8")
        move.other = contents(run)

    with pytest.raises(training.FolderError, match="moved, removed or replaced"):
        run_training(SMALL, run, resume=True, report=move)
    assert contents(run) == move.other
    assert (place / "checkpoints" / "state-000003.eqx").exists()


def test_a_comparison_is_not_made_inside_a_run(run, capsys):
    names = sorted(path.name for path in run.iterdir())
    with pytest.raises(ConfigError, match="holds another comparison, or something else"):
        compare([Arm("backpropagation", "feedforward", SMALL)], run, resume=True)
    assert sorted(path.name for path in run.iterdir()) == names


class TestOldFolders:
    """What the commit 84df3f5 wrote is read as before."""

    @pytest.fixture
    def old(self, tmp_path):
        return Path(shutil.copytree(OLD, tmp_path / "old"))

    def test_a_run_is_evaluated_and_exported(self, old):
        summary = json.loads((old / "train" / "summary.json").read_text(encoding="utf-8"))
        (row,) = trained.evaluate_run(old / "train")["seeds"]
        assert row["test_accuracy"] == pytest.approx(summary["test_accuracy"])
        models.export(old / "train", old / "again.model")
        for name in ("exported.model", "again.model"):
            model = models.load_model(old / name)
            rows = models.predict(model, np.zeros((1, 64), np.float32))
            assert len(rows[0].probabilities) == 10

    @pytest.mark.slow
    def test_a_finished_run_is_finished_and_an_interrupted_one_goes_on(self, old):
        config = folders.read_config(old / "train")
        assert run_training(config, old / "train", resume=True)["epochs"] == 3
        written = (old / "train" / "checkpoints" / "last.eqx").read_bytes()
        expected = json.loads((old / "train" / "summary.json").read_text(encoding="utf-8"))
        (old / "train" / "summary.json").unlink()
        (old / "train" / "checkpoints" / "state-000003.eqx").unlink()
        summary = run_training(config, old / "train", resume=True)
        assert summary["test_accuracy"] == pytest.approx(expected["test_accuracy"])
        like = (trained.build_system(config, samples.load_splits(config), 0), None)
        before = eqx.tree_deserialise_leaves(io.BytesIO(written), like)
        after = stored_weights(old / "train", "last", like)
        for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            if eqx.is_inexact_array(one):
                # To rounding: a processor, and how programs are compiled, are not those of then.
                np.testing.assert_allclose(one, other, atol=1e-4)
        assert len(folders.read_metrics(old / "train")) == 3
        (row,) = trained.evaluate_run(old / "train")["seeds"]
        assert row["test_accuracy"] == pytest.approx(expected["test_accuracy"])

    def test_meta_training_is_evaluated(self, old):
        summary = json.loads((old / "meta" / "summary.json").read_text(encoding="utf-8"))
        (row,) = meta.evaluate_meta(old / "meta")["seeds"]
        assert row["test"]["loss"] == pytest.approx(summary["test"]["loss"], rel=1e-5)

    def test_a_report_is_written_of_runs_and_comparisons(self, old):
        runs, comparisons = report.read([old / "train", old / "seeds", old / "compare"])
        assert len(runs) == 4
        assert len(comparisons) == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            ("represent",),
            tuple(
                "compare --hidden 8 8 --epochs 3 --batch-size 256 --seed 0 --out compare "
                "--resume".split()
            ),
            ("sweep", "sweep.toml", "--trials", "2", "--out", "sweep"),
        ],
        ids=lambda words: words[0],
    )
    def test_what_is_finished_is_not_made_again(self, old, monkeypatch, arguments):
        monkeypatch.chdir(old)
        if arguments[0] == "represent":
            from leastcontrol.runs.represent import run_representations
            from leastcontrol.runs.represent_config import RepresentConfig

            path = old / "represent" / "config.json"
            config = RepresentConfig.from_json(files.read_json(path), str(path))
            before = json.loads((old / "represent" / "summary.json").read_text(encoding="utf-8"))
            assert run_representations(config, old / "represent", resume=True) == before
            return
        if arguments[0] == "sweep":
            pytest.importorskip("optuna")
            (old / "sweep.toml").write_text(
                '[train]\ndata = "digits"\nhidden = [8]\nepochs = 1\nbatch-size = 256\n[search]\n'
                "learning-rate = { low = 1e-4, high = 1e-2, log = true }\n",
                encoding="utf-8",
            )
        assert call(*arguments) == 0
