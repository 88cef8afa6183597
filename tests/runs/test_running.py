"""Runs: from a configuration to a run folder, and from a run folder to figures."""

import dataclasses
import json
import math
import pickle
import statistics

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import stored_weights

from leastcontrol import data, files, rules, training
from leastcontrol.runs import folders, models, runner, samples, train, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training

SMALL = RunConfig.of(
    rule="backpropagation", hidden=(16,), epochs=2, learning_rate=1e-2, final_learning_rate=1e-3
)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


def strict_json(path):
    def refuse(text):
        raise AssertionError(f"{path} holds {text}, which is not JSON")

    value = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    value.pop("checksum", None)
    return value


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of a run of two seeds, the summary that it returned, and what it reported."""
    folder = tmp_path_factory.mktemp("runs") / "pair"
    reports = []
    with jax.enable_x64(False):
        summary = run_training(
            SMALL.with_options(seeds=(3, 4)),
            folder,
            command="leastcontrol train",
            report=lambda seed, metrics: reports.append((seed, metrics.epoch)),
        )
    return folder, summary, reports


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The folder of a run by least control, and its summary."""
    folder = tmp_path_factory.mktemp("runs") / "single"
    config = SMALL.with_options(rule="least-control", epochs=1, seed=3)
    with jax.enable_x64(False):
        return folder, run_training(config, folder)


# --- training and feedback ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"rule": "feedback-alignment"},
        {"rule": "direct-feedback-alignment"},
        {"rule": "centred-equilibrium-propagation"},
        {"controller": "kolen-pollack", "weight_decay": 1e-4},
        {"controller": "linear-feedback", "noise_steps": 10},
    ],
    ids=str,
)
def test_a_run_with_feedback_is_trained_and_evaluated(options, tmp_path):
    config = SMALL.with_options(**{"rule": "least-control", "epochs": 1, "hidden": (8,), **options})
    summary = run_training(config, tmp_path / "run")
    assert summary["solve"]["converged_fraction"] > 0.95
    (row,) = trained.evaluate_run(tmp_path / "run")["seeds"]
    assert row["test_accuracy"] == summary["test_accuracy"]
    # The checkpoint holds the feedback as training left it.
    splits = samples.load_splits(config)
    like = trained.build_system(config, splits, 0)
    first = config.build_rule().init(like, key=jax.random.key(0))
    _, feedback = stored_weights(tmp_path / "run", "last", (like, first))
    assert jax.tree.structure(feedback) == jax.tree.structure(first)
    if "rule" not in options:
        assert not eqx.tree_equal(feedback, first)


# --- run folders ----------------------------------------------------------------------------------

FIGURES = {
    "test_accuracy",
    "test_nll",
    "train_accuracy",
    "train_nll",
    "validation_accuracy",
    "step_ms_median",
    "epochs",
    "seed",
    "solve",
    "config",
    "versions",
}


def test_a_run_leaves_its_files(single):
    folder, _ = single
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == [
        "checkpoints/best.eqx",
        "checkpoints/last.eqx",
        "checkpoints/state-000001.eqx",
        "config.json",
        "metrics.jsonl",
        "summary.json",
    ]


def test_the_summary_has_what_was_found(single):
    folder, returned = single
    summary = strict_json(folder / "summary.json")
    assert set(summary) >= FIGURES
    assert summary == returned
    assert summary["epochs"] == 1
    assert summary["seed"] == 3
    assert 0 < summary["test_accuracy"] <= 1
    assert 0 < summary["test_nll"]
    assert summary["config"] == strict_json(folder / "config.json")
    assert RunConfig.from_json(summary["config"], "summary") == folders.read_config(folder)
    assert set(summary["versions"]) >= {"python", "leastcontrol", "jax", "equinox", "optax"}
    (line,) = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    solve = summary["solve"]
    assert solve["converged_fraction"] == line["converged_fraction"] > 0.99
    assert solve["residual_max"] == pytest.approx(1e-5 * line["residual_max"])
    assert 0 < solve["residual_max"] <= 1e-5
    assert 1 <= solve["steps_mean"] == line["steps_mean"] <= line["steps_max"]
    assert summary["step_ms_median"] == line["step_ms"] > 0
    assert summary["validation_accuracy"] == line["validation"]["accuracy"]


def test_several_seeds_have_folders_and_their_mean_and_deviation(pair):
    folder, returned, reports = pair
    assert reports == [(3, 1), (3, 2), (4, 1), (4, 2)]
    summary = strict_json(folder / "summary.json")
    assert summary == returned
    summaries = [strict_json(folder / f"seed-{seed}" / "summary.json") for seed in (3, 4)]
    assert [one["seed"] for one in summaries] == [3, 4]
    for name in ("test_accuracy", "test_nll", "train_accuracy", "train_nll", "validation_accuracy"):
        values = [one[name] for one in summaries]
        assert summary["mean"][name] == pytest.approx(statistics.fmean(values))
        assert summary["std"][name] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
        assert summary[name] == summary["mean"][name]
    assert summary["std"]["test_nll"] > 0
    assert set(summary) >= FIGURES
    assert summary["seed"] == [3, 4]
    assert [one["seed"] for one in summary["per_seed"]] == [3, 4]
    for seed in (3, 4):
        lines = (folder / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_the_answers_to_test_samples_are_counted(pair, single):
    both = strict_json(pair[0] / "summary.json")["confusion"]
    confusions = [
        strict_json(pair[0] / f"seed-{seed}" / "summary.json")["confusion"] for seed in (3, 4)
    ]
    for name in ("counts", "unsolved"):
        assert np.array_equal(
            both[name], np.sum([np.array(one[name]) for one in confusions], axis=0)
        )
    summary = strict_json(single[0] / "summary.json")
    counts = np.array(summary["confusion"]["counts"])
    assert counts.shape == (10, 10)
    total = counts.sum() + sum(summary["confusion"]["unsolved"])
    assert np.trace(counts) / total == pytest.approx(summary["test_accuracy"])


def test_the_strength_of_control_stands_beside_what_it_removed(pair, single):
    strength = strict_json(single[0] / "summary.json")["strength"]
    assert strength["alpha"] == strict_json(single[0] / "config.json")["alpha"] == 6.4
    lines = (single[0] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    removed = [json.loads(line)["removed"] for line in lines]
    assert strength["removed_mean"] == pytest.approx(statistics.fmean(removed))
    assert strength["removed_end"] == removed[-1]
    # Backpropagation has no control.
    assert "strength" not in strict_json(pair[0] / "summary.json")


def test_a_mean_over_seeds_that_are_not_all_finite_is_strict_json(pair, tmp_path):
    folder, _, _ = pair
    summaries = [strict_json(folder / f"seed-{seed}" / "summary.json") for seed in (3, 4)]
    summaries[1]["test_nll"] = math.nan
    job = train.TrainingJob(SMALL.with_options(seeds=(3, 4)))
    summary = runner.over_seeds(job, summaries)
    files.write_json(tmp_path / "summary.json", summary)
    written = strict_json(tmp_path / "summary.json")
    assert written["test_nll"] is None
    assert written["std"]["test_nll"] is None
    assert written["std"]["test_accuracy"] > 0


def test_a_seed_has_the_same_weights_alone_as_among_others(pair, tmp_path):
    folder, _, _ = pair
    run_training(SMALL.with_options(seed=3), tmp_path / "alone")
    checkpoint = (tmp_path / "alone" / "checkpoints" / "last.eqx").read_bytes()
    assert checkpoint == (folder / "seed-3" / "checkpoints" / "last.eqx").read_bytes()
    assert checkpoint != (folder / "seed-4" / "checkpoints" / "last.eqx").read_bytes()


def test_evaluation_finds_the_summarys_figures_again(pair, single):
    folder, _, _ = pair
    evaluated = {tuple(row["seed"] for row in trained.evaluate_run(folder)["seeds"])}
    assert evaluated == {(3, 4)}
    for place in (folder / "seed-3", folder / "seed-4", single[0]):
        summary = strict_json(place / "summary.json")
        (row,) = trained.evaluate_run(place)["seeds"]
        for name in ("test_accuracy", "test_nll", "validation_accuracy", "seed"):
            assert row[name] == summary[name]
    assert [row["test_accuracy"] for row in trained.evaluate_run(folder)["seeds"]] == [
        strict_json(folder / f"seed-{seed}" / "summary.json")["test_accuracy"] for seed in (3, 4)
    ]


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    samples = data.load("digits")
    weights = [trained.build_system(SMALL, samples, seed) for seed in range(3)]

    def train(system, rule, training_set, validation, config, *, seed, start, report, **options):
        measured = training.evaluate(system, validation)
        rows = []
        for epoch, accuracy in enumerate((0.5, 0.9, 0.7)):
            evaluation = dataclasses.replace(measured, accuracy=accuracy)
            metrics = training.EpochMetrics(
                epoch + 1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 3, 1.0, 1.0, evaluation
            )
            rows.append(metrics)
            report(metrics, training.Trained(weights[epoch], None, tuple(rows), None))
        return training.Trained(weights[2], None, tuple(rows), None)

    monkeypatch.setattr(training, "train", train)
    run_training(SMALL, tmp_path / "run")
    folder = training.RunFolder(tmp_path / "run")
    for name, expected in (("best", weights[1]), ("last", weights[2])):
        assert eqx.tree_equal(stored_weights(folder.path, name, weights[0]), expected)


def test_a_training_that_fails_keeps_the_last_good_weights(tmp_path):
    config = SMALL.with_options(
        epochs=3, batch_size=1318, learning_rate=1e38, final_learning_rate=1e38
    )
    with pytest.raises(training.TrainingError, match="Epoch 2 learned nothing"):
        run_training(config, tmp_path / "run")
    files = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "metrics.jsonl",
        "last.eqx",
        "best.eqx",
        "state-000001.eqx",
    }
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    like = trained.build_system(config, data.load("digits"), 0)
    kept = stored_weights(tmp_path / "run", "last", like)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(kept, eqx.is_array)))
    assert not eqx.tree_equal(kept, like)


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({"rule": "recurrent-backpropagation"}, 0.5),
        ({"alpha": 4.0}, 0.125),
        ({"alpha": 2.0, "alpha_convention": "batch-mean", "batch_size": 8}, 0.03125),
        ({"alpha": 0.0, "label_smoothing": 0.01}, 0.5),
    ],
)
def test_a_penalty_is_in_units_of_the_loss(options, strength):
    config = RunConfig.of(system="rnn", hidden=(8,), jacobian_penalty=0.5, **options)
    config.check()
    rule = config.build_rule()
    assert isinstance(rule, rules.JacobianPenalty)
    # Least control's objective holds the loss divided by the leak.
    assert rule.strength == pytest.approx(strength)


def test_a_training_that_fails_at_once_keeps_the_first_weights(tmp_path):
    # The forward pass of the second step overflows.
    config = SMALL.with_options(learning_rate=1e38, final_learning_rate=1e38)
    with pytest.raises(training.TrainingError, match="Epoch 1 met"):
        run_training(config, tmp_path / "run")
    like = trained.build_system(config, data.load("digits"), 0)
    kept = stored_weights(tmp_path / "run", "last", like)
    assert eqx.tree_equal(kept, like)
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5000}, "--batch-size is 5000, but digits has 1318 .*: write --batch-size"),
        ({"epochs": 0}, "--epochs is 0"),
        (
            {"alpha": 1e308, "rule": "least-control", "alpha_convention": "batch-mean"},
            "leak is inf",
        ),
        ({"validation_fraction": 1e-9}, "validation_fraction=1e-09"),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(options, message, tmp_path):
    with pytest.raises((ConfigError, data.DataError), match=message):
        run_training(SMALL.with_options(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_never_overwrites_another(pair):
    folder, _, _ = pair
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(training.FolderError, match="holds files already"):
        run_training(SMALL, folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 200_000, "cannot be read as JSON"),
        (b"[]", "holds no configuration"),
        (b'{"alpah": 1}', "unknown option 'alpah'"),
        (b'{"hidden": "16"}', "not of its kind"),
        (b'{"alpha": NaN}', "cannot be read as JSON"),
        (b'{"hidden": [16]}', "last.eqx does not exist"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises((ConfigError, training.FolderError), match=message):
        trained.evaluate_run(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_path_that_is_no_folder_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a run folder"):
        trained.evaluate_run(tmp_path / name)


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_in_place_of_the_configuration_is_not_run(tmp_path):
    (tmp_path / "config.json").write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        trained.evaluate_run(tmp_path)
    assert not (tmp_path / "marker").exists()


# --- systems of depth and space -------------------------------------------------------------------

IMAGES = {
    "convolutional": {"hidden": (32,), "activation": "relu", "controller": "dynamic-inversion"},
    "residual": {"hidden": (32,), "depth": 3, "activation": "relu"},
    "deep-equilibrium": {
        "cell": "swapped",
        "channels": 4,
        "inner": 4,
        "groups": 2,
        "pool": 4,
        "augment": "flip",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("system", IMAGES)
def test_systems_of_images_are_trained_evaluated_and_exported(system, tmp_path):
    config = RunConfig.of(
        system=system, alpha=320.0, epochs=2, batch_size=32, learning_rate=5e-3, **IMAGES[system]
    )
    summary = run_training(config, tmp_path / "run")
    assert summary["solve"]["converged_fraction"] > 0.9
    assert summary["test_accuracy"] > 0.3
    (row,) = trained.evaluate_run(tmp_path / "run")["seeds"]
    assert row["test_accuracy"] == summary["test_accuracy"]
    models.export(tmp_path / "run", tmp_path / "model")
    test = data.load("digits").test
    predictions = models.predict(models.load_model(tmp_path / "model"), test.inputs)
    right = [
        prediction.label == target
        for prediction, target in zip(predictions, test.targets, strict=True)
    ]
    assert np.mean(right) == pytest.approx(summary["test_accuracy"], abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "residual", "hidden": (4, 4)}, "one size for a residual: write --hidden 256"),
        ({"depth": 3}, "--depth is 3, but it has no effect without --system residual"),
        ({"system": "residual", "hidden": (4,), "depth": 0}, "--depth is 0, but it must be from 1"),
        ({"augment": "crop"}, "has no effect without --system convolutional"),
        ({"system": "deep-equilibrium", "hidden": (4,)}, "--hidden is 4, but it has no effect"),
        (
            {"system": "deep-equilibrium", "activation": "relu"},
            "--activation is relu, but",
        ),
        ({"system": "deep-equilibrium", "rule": "backpropagation"}, "recurrent-backpropagation"),
        ({"system": "convolutional", "rule": "deep-feedback-control"}, "--system feedforward"),
        ({"system": "convolutional", "controller": "linear-feedback"}, "straight to the neurons"),
        ({"system": "convolutional", "rule": "direct-feedback-alignment"}, "straight to the"),
        (
            {"system": "convolutional", "jacobian_penalty": 1.0},
            "has no effect without --system rnn",
        ),
    ],
    ids=str,
)
def test_what_a_system_cannot_use_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.of(**options).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convolutions": "paper", "hidden": (8,)}, "Convolution 2 has a kernel of 5 pixels"),
        ({"system": "deep-equilibrium", "pool": 3}, "3 × 3 pixels do not divide an image of 8 × 8"),
        (
            {"system": "deep-equilibrium", "channels": 12},
            "`channels` is 12, which 8 groups do not divide",
        ),
    ],
    ids=str,
)
def test_a_system_that_does_not_fit_the_images_leaves_no_folder(options, message, tmp_path):
    config = RunConfig.of(**{"system": "convolutional", **options})
    with pytest.raises(ConfigError, match=f"cannot be built for digits: .*{message}"):
        run_training(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
