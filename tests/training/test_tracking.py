"""What trackers are told, and TensorBoard's files."""

import json
import sys

import jax
import pytest

from leastcontrol import training
from leastcontrol.cli import main
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.train import run_training
from leastcontrol.training import Evaluation

TINY = RunConfig.of(rule="backpropagation", hidden=(4,), epochs=2, batch_size=256)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


class Recorded:
    """A tracker that remembers."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.logged, self.closed = [], 0

    def log(self, epoch, figures):
        self.logged.append((epoch, figures))

    def close(self):
        self.closed += 1


@pytest.mark.slow
def test_a_tracker_is_told_every_epoch_of_its_seed(tmp_path):
    made = []

    def track(folder, config):
        made.append(Recorded(folder, config))
        return made[-1]

    config = TINY.with_options(seeds=(0, 1))
    run_training(config, tmp_path / "run", track=track)
    assert [tracker.folder.name for tracker in made] == ["seed-0", "seed-1"]
    assert [tracker.config.run.seed for tracker in made] == [0, 1]
    for tracker in made:
        text = (tracker.folder / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert [epoch for epoch, _ in tracker.logged] == [1, 2]
        for line, (_, figures) in zip(lines, tracker.logged, strict=True):
            assert figures["loss"] == line["loss"]
            assert figures["validation/accuracy"] == line["validation"]["accuracy"]
        assert tracker.closed == 1


def test_a_tracker_is_closed_where_training_is_stopped(tmp_path):
    made = Recorded(None, None)

    def stop(seed, metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(TINY, tmp_path / "run", track=lambda *_: made, report=stop)
    assert (len(made.logged), made.closed) == (1, 1)


def test_figures_are_flat_and_finite():
    metrics = training.EpochMetrics(
        epoch=3,
        loss=0.5,
        objective=float("nan"),
        control_norm=1.0,
        control_energy=1.5,
        converged_fraction=1.0,
        residual_max=0.9,
        steps_mean=2.5,
        steps_max=4,
        step_ms=1.25,
        seconds=2.0,
        validation=Evaluation(0.75, 0.25, 1.0),
        diagnostics={"angle": {"all": 12.0}},
    )
    figures = training.figures_of(metrics)
    assert figures["loss"] == 0.5
    assert figures["steps_max"] == 4.0
    assert figures["angle/all"] == 12.0
    assert figures["validation/accuracy"] == metrics.validation.accuracy
    assert not {"epoch", "objective", "diagnostics"} & set(figures)


def test_tensorboard_files_are_written_on_request(tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    words = ["train", "--rule", "backpropagation", "--hidden", "4", "--epochs", "1"]
    words += ["--batch-size", "256", "--out", str(tmp_path / "run"), "--tensorboard"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    # The names of the curves stand in the records as they are.
    assert b"validation/accuracy" in events.read_bytes()


def test_a_missing_writer_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = ["train", "--rule", "backpropagation", "--hidden", "4", "--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "run"), "--tensorboard"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "pip install 'leastcontrol[tensorboard]'" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(training.TrackingError, match="which is not installed"):
        training.TensorBoard(tmp_path)
