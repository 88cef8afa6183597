"""Regressions: one teacher for all parts, images that are their own targets, and runs on them."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leastcontrol import data, training
from leastcontrol import report as reports
from leastcontrol.cli import main
from leastcontrol.data import DataError
from leastcontrol.losses import SquaredError
from leastcontrol.runs import models, sweep, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.sweep_config import Choices, SweepConfig
from leastcontrol.systems import Feedforward

SMALL = {"train": 60, "validation": 5, "test": 40, "hidden": (4,)}


def test_one_teacher_answers_in_all_parts():
    """Rectified and without biases, it is positively homogeneous, and linear in its 4 rates."""
    parts = data.student_teacher(2, 7, **SMALL, seed=3).parts()
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 60,
        "validation": 5,
        "test": 40,
    }
    for part in parts.values():
        assert part.inputs.dtype == part.targets.dtype == np.float32
        assert np.all(np.abs(part.inputs) <= 1)
    together = np.concatenate([part.targets for part in parts.values()])
    sizes = np.linalg.svd(together, compute_uv=False)
    # 7 outputs of 4 hidden neurons span 4 dimensions; those of three teachers would span 7.
    assert sizes[3] > 1e-2
    assert sizes[4] < 1e-5 * sizes[0]


def test_the_parts_are_different_samples_and_the_seed_decides_them():
    first = data.student_teacher(3, 2, **SMALL)
    again = data.student_teacher(3, 2, **SMALL)
    other = data.student_teacher(3, 2, **SMALL, seed=1)
    np.testing.assert_array_equal(first.test.targets, again.test.targets)
    assert not np.isin(first.test.inputs, first.train.inputs).any()
    assert not np.isin(first.test.inputs, other.test.inputs).any()
    assert abs(first.train.inputs.mean()) < 0.15
    assert first.train.inputs.std() == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_the_gain_is_that_of_every_layer():
    single = data.student_teacher(3, 2, **SMALL, gain=1.0)
    triple = data.student_teacher(3, 2, **SMALL, gain=3.0)
    np.testing.assert_allclose(triple.train.targets, 9 * single.train.targets, rtol=1e-4)


def test_images_are_their_own_targets():
    splits = data.load("digits", preprocessing=data.Standardise(0.3, 0.4))
    images = data.autoencoding(splits)
    for name, part in images.parts().items():
        np.testing.assert_array_equal(part.inputs, splits.parts()[name].inputs)
        np.testing.assert_array_equal(part.targets, part.inputs)
    assert images.train.name == "digits-autoencoder"
    assert images.train.shape == (8, 8)
    assert data.student_teacher(3, 2, **SMALL).train.shape == (3,)
    taken = images.train.take(np.array([5, 2]))
    np.testing.assert_array_equal(taken.targets, images.train.targets[[5, 2]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.student_teacher(0), "inputs=0"),
        (lambda: data.student_teacher(hidden=(5, 0)), "hidden=0"),
        (lambda: data.student_teacher(test=0), "test=0"),
        (lambda: data.student_teacher(gain=np.inf), "gain=inf"),
        (lambda: data.student_teacher(seed=-1), "seed=-1"),
        (lambda: _of(np.zeros((2, 3)), np.zeros((2, 1), np.float32)), "inputs are float64"),
        (lambda: _of(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)), "targets are"),
        (lambda: _of(np.zeros((2, 3), np.float32), np.ones((3, 1), np.float32)), "3 targets"),
        (lambda: _of(np.zeros((0, 3), np.float32), np.ones((0, 1), np.float32)), "0 inputs"),
        (
            lambda: data.Regression(
                "own", np.zeros((1, 6), np.float32), np.ones((1, 1), np.float32), (2, 2)
            ),
            "expected 4",
        ),
        (lambda: _of(np.full((1, 3), np.nan, np.float32), np.ones((1, 1), np.float32)), "NaN"),
    ],
)
def test_what_is_no_regression_is_refused(make, words):
    with pytest.raises(DataError, match=words):
        make()


def _of(inputs, targets):
    return data.Regression("own", inputs, targets)


# --- runs -----------------------------------------------------------------------------------------


def test_the_error_is_the_mean_over_outputs_and_samples():
    with jax.enable_x64(False):
        splits = data.student_teacher(3, 2, **SMALL)
        network = Feedforward(3, (4,), 2, key=jax.random.key(0))
        first, second = network.layers
        weights = (first.weight, first.bias, second.weight, second.bias)
        (w, b, v, c) = map(np.asarray, weights)
        said = np.tanh(splits.test.inputs @ w.T + b) @ v.T + c
        expected = np.mean((said - splits.test.targets) ** 2)
        evaluation = training.evaluate(network, splits.test, batch_size=7)
        assert isinstance(evaluation, training.RegressionEvaluation)
        assert evaluation.mean_squared_error == pytest.approx(expected, rel=1e-5)
        assert evaluation.converged_fraction == 1
        assert evaluation.score == -evaluation.mean_squared_error
        broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), network)
        worst = training.evaluate(broken, splits.test)
        assert np.isnan(worst.mean_squared_error)
        assert worst.score < evaluation.score


def test_a_row_of_figures_is_of_the_kind_that_it_has_figures_of():
    for figures in (training.Evaluation(0.5, 1.0, 1.0), training.RegressionEvaluation(2.0, 1.0)):
        assert training.evaluation_of(dataclasses.asdict(figures)) == figures


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a comparison on images that are to be given back."""
    folder = tmp_path_factory.mktemp("regressions") / "compared"
    words = (
        "compare --data digits-autoencoder --hidden 8 --epochs 2 --learning-rate 3e-2 --seeds 3 4 "
        "--target 0.06 --out"
    )
    rules = ("backpropagation", "least-control --controller dynamic-inversion")
    with jax.enable_x64(False), pytest.raises(SystemExit) as caught:
        main([*words.split(), str(folder), "--rules", *rules])
    assert caught.value.code is None or caught.value.code == 0
    return folder


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_run_on_vectors_is_judged_by_its_error_and_knows_no_accuracy(compared):
    summary = load(compared / "feedforward-backpropagation" / "summary.json")
    assert "accuracy" not in json.dumps({**summary, "config": None, "command": None})
    lines = (compared / "feedforward-backpropagation" / "seed-3" / "metrics.jsonl").read_text()
    first, last = (json.loads(line)["validation"] for line in lines.splitlines())
    assert set(last) == {"mean_squared_error", "converged_fraction"}
    assert last["mean_squared_error"] < first["mean_squared_error"]
    # Less than what saying the mean of every pixel would leave.
    pixels = data.autoencoding(data.load("digits")).test.targets
    assert summary["test_mean_squared_error"] < np.mean((pixels - pixels.mean(axis=0)) ** 2)
    single = load(compared / "feedforward-backpropagation" / "seed-3" / "summary.json")
    with jax.enable_x64(False):
        (row, _) = trained.evaluate_run(compared / "feedforward-backpropagation")["seeds"]
    for name in ("test_mean_squared_error", "validation_mean_squared_error"):
        assert row[name] == single[name]


def test_what_is_compared_is_the_error(compared):
    written = load(compared / "comparison.json")
    for arm in written["arms"]:
        for trial in arm["seeds"]:
            values = [epoch["validation_mean_squared_error"] for epoch in trial["epochs"]]
            reached = [number for number, value in enumerate(values, 1) if value <= 0.06]
            assert trial["epochs_to_target"] == (reached[0] if reached else None)
    (difference,) = written["differences"]
    assert difference["test_mean_squared_error"]["pairs"] == 2
    assert "test_accuracy" not in difference


def test_a_report_shows_errors_and_no_accuracies(compared):
    runs, comparisons = reports.read([compared])
    drawn = reports.figures(runs)
    assert {"error", "error-time"} <= {figure.name for figure in drawn}
    assert not any(figure.name.startswith("accuracy") for figure in drawn)
    page = reports.page(runs, comparisons, drawn)
    assert "test squared error" in page
    assert "accuracy" not in page
    assert "nats" not in page


def test_a_model_gives_images_back(compared, tmp_path, capsys):
    folder = compared / "feedforward-backpropagation" / "seed-3"
    with jax.enable_x64(False):
        models.export(folder, tmp_path / "model")
        model = models.load_model(tmp_path / "model")
        inputs = data.load("digits").test.inputs
        predictions = models.predict(model, inputs)
        assert all(prediction.solved for prediction in predictions)
        error = np.mean(
            (np.asarray([prediction.outputs for prediction in predictions]) - inputs) ** 2
        )
        expected = load(folder / "summary.json")["test_mean_squared_error"]
        assert error == pytest.approx(expected, rel=1e-4)
        np.savetxt(tmp_path / "rows.csv", inputs[:2], delimiter=",")
        files = (tmp_path / "model", tmp_path / "rows.csv", "--csv", tmp_path / "out.csv")
        with pytest.raises(SystemExit):
            main(["predict", *map(str, files)])
    assert "outputs" in capsys.readouterr().out
    header, *rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header.split(",")[-1] == "output_63"
    assert len(rows) == 2


def test_a_sample_that_is_no_image_is_any_numbers(tmp_path):
    np.save(tmp_path / "own.npy", np.array([[-3.0, 2.0, 0.5]]))
    samples = models.read_samples(tmp_path / "own.npy", (3,), pixels=False)
    np.testing.assert_array_equal(samples, np.float32([[-3, 2, 0.5]]))
    with pytest.raises(ConfigError, match="no image: leave it out"):
        models.read_samples(tmp_path / "own.npy", (3,), 255.0, pixels=False)
    np.save(tmp_path / "own.npy", np.array([[np.inf, 2.0, 0.5]]))
    with pytest.raises(ConfigError, match="not finite"):
        models.read_samples(tmp_path / "own.npy", (3,), pixels=False)


@pytest.mark.slow
def test_a_search_looks_for_the_least_error(tmp_path):
    train = {
        "data": "digits-autoencoder",
        "rule": "backpropagation",
        "hidden": (4,),
        "epochs": 1,
        "final_learning_rate": 0.0,
    }
    search = SweepConfig(train, {"learning_rate": Choices((1e-2, 1e-6))})
    with jax.enable_x64(False):
        result = sweep.sweep(search, tmp_path / "sweep", trials=2)
    errors = {
        trial["options"]["learning_rate"]: trial["validation_mean_squared_error"]
        for trial in result["trials"]
    }
    assert result["best"]["validation_mean_squared_error"] == min(errors.values())


def test_the_loss_is_the_squared_error_and_needs_no_softness():
    strong = RunConfig.of(
        data="student-teacher", hidden=(4,), rule="deep-feedback-control", teaching="strong"
    )
    for config in (strong, RunConfig.of(data="student-teacher", alpha=0.0)):
        config.check()
        assert config.build_rule().loss == SquaredError()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing": 0.1}, "has no effect without --data digits"),
        ({"rule": "deep-feedback-control", "teaching": "label-difference"}, "--teaching strong"),
        ({"system": "convolutional"}, "--system feedforward"),
        ({"preprocessing": "standardise"}, "--preprocessing is standardise"),
        ({"validation_fraction": 0.5}, "--validation-fraction is 0.5"),
        ({"data_dir": Path("somewhere")}, "has no effect without --data mnist"),
    ],
    ids=str,
)
def test_what_needs_labels_or_files_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.of(data="student-teacher", **options).check()


def test_no_sample_of_a_regression_is_shown_on_its_way(compared, tmp_path, capsys):
    folder = compared / "feedforward-backpropagation" / "seed-3"
    with pytest.raises(SystemExit) as caught:
        main(["report", str(folder), "--sample", "0", "--out", str(tmp_path / "page.html")])
    assert caught.value.code == 2
    assert "digits-autoencoder, which has none" in capsys.readouterr().err


def test_the_command_line_describes_what_a_teacher_says(monkeypatch, capsys):
    monkeypatch.setattr(data, "student_teacher", lambda **_: _small_teacher())
    with pytest.raises(SystemExit):
        main(["data", "student-teacher"])
    description = json.loads(capsys.readouterr().out)
    assert (description["outputs"], description["shape"]) == (2, [3])
    assert description["splits"]["test"]["count"] == 40
    targets = _small_teacher().test.targets
    assert description["splits"]["test"]["target_deviation"] == pytest.approx(targets.std())


_TEACHER = data.student_teacher


def _small_teacher():
    return _TEACHER(3, 2, **SMALL)
