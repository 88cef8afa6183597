"""Runs: from a configuration to a run folder, and from a run folder to figures."""

import dataclasses
import json
import math
import pickle
import statistics
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import stored_weights

from leastcontrol import data, files, rules, training
from leastcontrol.runs import models, running
from leastcontrol.runs.config import (
    CHOICES,
    FEEDBACK_CONTROL_OPTIONS,
    FEWEST_NOISE_STEPS,
    SIMULATION_OPTIONS,
    ConfigError,
    RunConfig,
)

SMALL = RunConfig(
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
        summary = running.run(
            dataclasses.replace(SMALL, seeds=(3, 4)),
            folder,
            command="leastcontrol train",
            report=lambda seed, metrics: reports.append((seed, metrics.epoch)),
        )
    return folder, summary, reports


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The folder of a run by least control, and its summary."""
    folder = tmp_path_factory.mktemp("runs") / "single"
    config = dataclasses.replace(SMALL, rule="least-control", epochs=1, seed=3)
    with jax.enable_x64(False):
        return folder, running.run(config, folder)


# --- configurations -------------------------------------------------------------------------------

CHANGED = {
    "data": "mnist",
    "data_dir": Path("somewhere"),
    "preprocessing": "standardise",
    "augment": "flip",
    "validation_fraction": 0.2,
    "split_seed": 1,
    "system": "rnn",
    "hidden": (5,),
    "activation": "relu",
    "initialisation": "orthogonal",
    "convolutions": "strided",
    "depth": 3,
    "cell": "nodes",
    "channels": 16,
    "inner": 8,
    "groups": 4,
    "pool": 4,
    "encoder_stride": 2,
    "rule": "recurrent-backpropagation",
    "controller": "energy",
    "alpha": 1.0,
    "alpha_convention": "batch-mean",
    "output_control": "proportional",
    "softness": 0.1,
    "tolerance": 1e-4,
    "max_steps": 7,
    "unsolved": "keep",
    "start": "warm",
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "final_learning_rate": 2e-4,
    "gradient_clip": 1.0,
    "weight_decay": 1e-6,
    "feedback_learning_rate": 1e-2,
    "jacobian_penalty": 0.1,
    "phase": "analytic-steady-state",
    "teaching": "strong",
    "nudge": 0.2,
    "controller_leak": 0.1,
    "feedback": "weight-product",
    "feedback_learning": "quasi-static",
    "feedback_noise": 0.3,
    "quasi_static_leak": 0.5,
    "direct_feedback_decay": 0.01,
    "feedback_samples": 2,
    "feedback_start": 20,
    "filter_time_constant": 0.7,
    "difference": "voltage",
    "conventions": "published",
    "time_step": 0.01,
    "points": 50,
    "voltage_time_constant": 0.3,
    "apical_time_constant": 0.2,
    "proportional_gain": 2.0,
    "transmission": "delayed",
    "control_timing": "reactive",
    "noise": 0.2,
    "output_noise": 0.3,
    "noise_time_constant": 0.4,
    "noise_increments": "two-point",
    "update_noise": 0.2,
    "update_start": 10,
    "reach": 0.5,
    "noise_steps": 50,
    "noise_samples": 4,
    "feedback_decay": 0.1,
    "diagnose": 2,
    "accumulate": 2,
    "seed": 5,
    "seeds": (5, 6),
}
STARTED = RunConfig(hidden=(4,))
# Where an option of deep feedback control has an effect.
FEEDBACK_CONTROL = dataclasses.replace(STARTED, rule="deep-feedback-control", softness=0.1)
SIMULATED = dataclasses.replace(
    FEEDBACK_CONTROL, phase="continuous", noise=0.1, feedback_learning="single-phase"
)
PLACES = {
    **dict.fromkeys(FEEDBACK_CONTROL_OPTIONS, FEEDBACK_CONTROL),
    "nudge": FEEDBACK_CONTROL,
    **dict.fromkeys(
        ("feedback_noise", "quasi_static_leak", "direct_feedback_decay"),
        dataclasses.replace(FEEDBACK_CONTROL, feedback_learning="quasi-static"),
    ),
    "feedback_samples": dataclasses.replace(
        FEEDBACK_CONTROL, feedback_learning="quasi-static", quasi_static_leak=1.0
    ),
    **dict.fromkeys(
        (
            *SIMULATION_OPTIONS,
            "noise",
            "output_noise",
            "noise_time_constant",
            "noise_increments",
            "update_start",
            "filter_time_constant",
            "feedback_start",
            "reach",
        ),
        SIMULATED,
    ),
    **dict.fromkeys(
        ("noise_steps", "noise_samples", "feedback_decay"),
        dataclasses.replace(STARTED, controller="linear-feedback"),
    ),
    **dict.fromkeys(
        ("cell", "channels", "inner", "groups", "pool"),
        RunConfig(system="deep-equilibrium"),
    ),
    # A state of half as many rows has to be divided too.
    "encoder_stride": RunConfig(system="deep-equilibrium", pool=4),
    **dict.fromkeys(
        ("convolutions", "augment"), dataclasses.replace(STARTED, system="convolutional")
    ),
    "depth": dataclasses.replace(STARTED, system="residual"),
}
# Choices that need more than the other choices of their option.
SPECIAL_PLACES = {
    "jacobian": dataclasses.replace(FEEDBACK_CONTROL, phase="simulated-steady-state"),
    "single-phase": SIMULATED,
}


def colour_images():
    """Returns two images of 3 × 32 × 32 pixels, as every part of a data set."""
    part = data.Dataset(
        "colour",
        np.zeros((2, 3 * 32 * 32), np.float32),
        np.arange(2, dtype=np.int32),
        10,
        (3, 32, 32),
        data.Provenance("", "", "", {}),
    )
    return data.Splits(part, part, part)


def built(config, monkeypatch):
    """Returns everything that a configuration is turned into."""
    asked = {}
    splits = colour_images() if config.convolutions == "paper" else data.load("digits")

    def load(name, **options):
        asked.update(name=name, **options)
        return splits

    def teach(**options):
        asked.update(name="student-teacher", **options)
        return splits

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(data, "student_teacher", teach)
    if config.regression:
        monkeypatch.setattr(data, "autoencoding", lambda own: asked.update(given_back=True) or own)
    try:
        running.load_splits(config)
    finally:
        monkeypatch.undo()
    # Of large systems only the shapes, for that is where their options show.
    build = running.build_system
    if config.convolutions == "paper":
        build = lambda *own: eqx.filter_eval_shape(running.build_system, *own)  # noqa: E731
    systems = [build(config, splits, seed) for seed in config.all_seeds()]
    loop, batch = running.build_training(config), running.diagnosed_samples(config, splits)
    return asked, systems, running.build_rule(config), loop, batch


def equal(first, second):
    asked, systems, rule, loop, batch = first
    others = second[1]
    return (
        asked == second[0]
        and len(systems) == len(others)
        and all(bool(eqx.tree_equal(a, b)) for a, b in zip(systems, others, strict=True))
        and bool(eqx.tree_equal(rule, second[2]))
        and loop == second[3]
        and bool(eqx.tree_equal(batch, second[4]))
    )


def test_every_option_is_in_the_list_of_changes():
    assert set(CHANGED) == {field.name for field in dataclasses.fields(RunConfig)}
    assert set(CHOICES) <= set(CHANGED)


def test_the_same_configuration_builds_the_same(monkeypatch):
    assert equal(built(STARTED, monkeypatch), built(STARTED, monkeypatch))


@pytest.mark.parametrize("name", CHANGED)
def test_no_option_is_ignored(name, monkeypatch):
    start = PLACES.get(name, STARTED)
    changed = dataclasses.replace(start, **{name: CHANGED[name]})
    start.check()
    assert not equal(built(start, monkeypatch), built(changed, monkeypatch))


@pytest.mark.parametrize("name", PLACES)
def test_an_option_without_effect_is_refused(name):
    changed = dataclasses.replace(STARTED, **{name: CHANGED[name]})
    with pytest.raises(ConfigError, match=rf"--{name.replace('_', '-')} is .* has no effect"):
        changed.check()
    dataclasses.replace(PLACES[name], **{name: CHANGED[name]}).check()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"system": "rnn"}, "--system is rnn"),
        ({"softness": 0.0, "teaching": "strong"}, "--softness 0.01"),
        ({"feedback": "jacobian", "feedback_learning": "two-phase"}, "has no weights"),
        ({"feedback": "jacobian"}, "least-control"),
        ({"phase": "continuous", "feedback_learning": "quasi-static"}, "--phase steady-state"),
        ({"phase": "continuous", "feedback_learning": "single-phase"}, "--noise 0.1"),
        ({"phase": "analytic-steady-state", "teaching": "strong"}, "--teaching nudged"),
    ],
    ids=str,
)
def test_what_does_not_fit_in_deep_feedback_control_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(FEEDBACK_CONTROL, **options).check()


def test_a_step_above_a_time_constant_is_refused(tmp_path):
    coarse = dataclasses.replace(SIMULATED, time_step=0.2, data="digits")
    with pytest.raises(ConfigError, match="cannot follow it"):
        running.run(coarse, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settled",
    [{"controller": name} for name in CHOICES["controller"]]
    + [{"rule": "recurrent-backpropagation", "system": "rnn"}],
    ids=str,
)
@pytest.mark.parametrize("name", ["max_steps", "tolerance"])
def test_the_budget_reaches_every_solver(settled, name, monkeypatch):
    plain = dataclasses.replace(STARTED, **settled)
    changed = dataclasses.replace(plain, **{name: CHANGED[name]})
    assert not equal(built(plain, monkeypatch), built(changed, monkeypatch))


@pytest.mark.parametrize(
    ("name", "choice"), [(name, choice) for name, own in CHOICES.items() for choice in own]
)
def test_every_choice_is_one_of_its_own(name, choice, monkeypatch):
    other = next(one for one in CHOICES[name] if one != choice)
    start = SPECIAL_PLACES.get(choice, PLACES.get(name, STARTED))
    first, second = (dataclasses.replace(start, **{name: own}) for own in (choice, other))
    assert not equal(built(first, monkeypatch), built(second, monkeypatch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"controller": "kolen-pollack", "rule": "equilibrium-propagation"},
            "--rule least-control",
        ),
        ({"controller": "exact", "rule": "predictive-coding"}, "descends the energy"),
        ({"rule": "centred-equilibrium-propagation", "alpha": 0.0}, "strength 1/α: write --alpha"),
        (
            {"controller": "linear-feedback", "noise_steps": 4},
            "--noise-steps is 4, but .* 5:",
        ),
        ({"controller": "linear-feedback", "noise_samples": 0}, "--noise-samples is 0, but"),
        ({"controller": "linear-feedback", "feedback_decay": -1.0}, "--feedback-decay is -1.0"),
        ({"rule": "predictive-coding", "alpha": 0.0}, "asks for infinite control"),
    ],
    ids=str,
)
def test_what_a_controller_or_a_baseline_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(STARTED, **options).check()


@pytest.mark.parametrize(
    ("options", "leak"),
    [
        ({"alpha": 0.1}, 0.1),
        ({"alpha": 6.4}, 6.4),
        ({"alpha": 640.0}, 640.0),
        # Of the mean of a batch, and so 64 times as much of a sample.
        ({"alpha": 0.5, "alpha_convention": "batch-mean", "batch_size": 64}, 32.0),
    ],
)
def test_the_simulation_of_noise_follows_any_leak(options, leak):
    limit = {"noise_steps": FEWEST_NOISE_STEPS, "controller": "linear-feedback"}
    config = dataclasses.replace(STARTED, **limit, **options)
    config.check()
    noise = running.build_rule(config).controller.noise
    noise.check_leak(leak)
    # The paper's τ_u is 1 with a leak of 6.4 a sample, and no faster with a smaller one.
    assert noise.output_time_constant == pytest.approx(max(1, leak / 6.4))
    # A step of 0.04 follows τ_u/α down to 0.04.
    with pytest.raises(ValueError, match="time constant"):
        noise.check_leak(1.01 * 25 * noise.output_time_constant)
    with pytest.raises(ValueError, match="`steps` is 4"):
        dataclasses.replace(noise, steps=FEWEST_NOISE_STEPS - 1)


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "feedback-alignment"},
        pytest.param({"rule": "direct-feedback-alignment"}, marks=pytest.mark.slow),
        pytest.param({"rule": "centred-equilibrium-propagation"}, marks=pytest.mark.slow),
        pytest.param({"controller": "kolen-pollack", "weight_decay": 1e-4}, marks=pytest.mark.slow),
        {"controller": "linear-feedback", "noise_steps": 10},
    ],
    ids=str,
)
def test_a_run_with_feedback_is_trained_and_evaluated(options, tmp_path):
    config = dataclasses.replace(
        SMALL, **{"rule": "least-control", "epochs": 1, "hidden": (8,), **options}
    )
    summary = running.run(config, tmp_path / "run")
    assert summary["solve"]["converged_fraction"] > 0.95
    (row,) = running.evaluate_run(tmp_path / "run")["seeds"]
    assert row["test_accuracy"] == summary["test_accuracy"]
    # The checkpoint holds the feedback as training left it.
    splits = running.load_splits(config)
    like = running.build_system(config, splits, 0)
    first = running.build_rule(config).init(like, key=jax.random.key(0))
    _, feedback = stored_weights(tmp_path / "run", "last", (like, first))
    assert jax.tree.structure(feedback) == jax.tree.structure(first)
    if "rule" not in options:
        assert not eqx.tree_equal(feedback, first)


def test_the_batch_mean_convention_multiplies_the_leak_by_the_batch_size():
    config = RunConfig(alpha=0.1, alpha_convention="batch-mean", batch_size=64)
    assert float(running.build_rule(config).output_control.leak) == pytest.approx(6.4)


def test_proportional_control_has_the_same_leak():
    config = RunConfig(alpha=4.0, output_control="proportional")
    assert float(running.build_rule(config).output_control.leak) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(start="warm"),
        dataclasses.replace(
            STARTED,
            **{n: CHANGED[n] for n in CHANGED.keys() - PLACES.keys() - {"seeds", "start"}},
        ),
        dataclasses.replace(
            SIMULATED,
            **{name: CHANGED[name] for name in (*SIMULATION_OPTIONS, "noise", "output_noise")},
        ),
    ],
)
def test_a_configuration_survives_json(config):
    text = json.dumps(config.as_json(), allow_nan=False)
    assert RunConfig.from_json(json.loads(text), "here") == config


def test_whole_numbers_in_json_become_real_ones_where_those_are_meant():
    config = RunConfig.from_json({"alpha": 6, "gradient_clip": 1, "epochs": 2}, "here")
    assert (type(config.alpha), type(config.gradient_clip), type(config.epochs)) == (
        float,
        float,
        int,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "here holds no configuration"),
        ({"alhpa": 1.0}, "unknown option 'alhpa'; the nearest is alpha"),
        ({"epochs": 1.5}, "epochs = 1.5, which is not of its kind"),
        ({"epochs": True}, "epochs = True, which"),
        ({"alpha": "6.4"}, "alpha = '6.4', which"),
        ({"alpha": 10**400}, "alpha = 1000"),
        ({"alpha": None}, "alpha = None, which"),
        ({"hidden": 5}, "hidden = 5, which"),
        ({"hidden": [5.0]}, r"hidden = \[5.0\], which"),
        ({"data_dir": 5}, "data_dir = 5, which"),
        ({"gradient_clip": "a"}, "gradient_clip = 'a', which"),
        ({"seed": [1]}, r"seed = \[1\], which"),
        ({"system": 1}, "system = 1, which"),
        ({"epochs": 0}, "here cannot be run: --epochs is 0"),
        ({"alpha": math.nan}, "here cannot be run: --alpha is nan"),
        ({"jacobian_penalty": 0.0}, "cannot be run: --jacobian-penalty is 0.0"),
        ({"jacobian_penalty": 1.0}, "cannot be run: --jacobian-penalty keeps an rnn solvable"),
    ],
)
def test_json_that_is_no_configuration_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_json(values, "here")


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0, "softness": 0.01},
        {"alpha": 0.0, "rule": "backpropagation"},
        {"system": "rnn", "hidden": (4,)},
        {"seeds": (0, 2**32 - 1)},
        {"final_learning_rate": 0.0},
        {"hidden": (2**15,)},
    ],
    ids=str,
)
def test_the_edge_of_a_range_is_inside(options):
    dataclasses.replace(RunConfig(), **options).check()


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
    assert RunConfig.from_json(summary["config"], "summary") == running.read_config(folder)
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
    own = [strict_json(folder / f"seed-{seed}" / "summary.json") for seed in (3, 4)]
    assert [one["seed"] for one in own] == [3, 4]
    for name in ("test_accuracy", "test_nll", "train_accuracy", "train_nll", "validation_accuracy"):
        values = [one[name] for one in own]
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


def test_a_mean_over_seeds_that_are_not_all_finite_is_strict_json(pair, tmp_path):
    folder, _, _ = pair
    own = [strict_json(folder / f"seed-{seed}" / "summary.json") for seed in (3, 4)]
    own[1]["test_nll"] = math.nan
    summary = running._summary_of(own, dataclasses.replace(SMALL, seeds=(3, 4)))
    files.write_json(tmp_path / "summary.json", summary)
    written = strict_json(tmp_path / "summary.json")
    assert written["test_nll"] is None
    assert written["std"]["test_nll"] is None
    assert written["std"]["test_accuracy"] > 0


def test_a_seed_has_the_same_weights_alone_as_among_others(pair, tmp_path):
    folder, _, _ = pair
    running.run(dataclasses.replace(SMALL, seed=3), tmp_path / "alone")
    checkpoint = (tmp_path / "alone" / "checkpoints" / "last.eqx").read_bytes()
    assert checkpoint == (folder / "seed-3" / "checkpoints" / "last.eqx").read_bytes()
    assert checkpoint != (folder / "seed-4" / "checkpoints" / "last.eqx").read_bytes()


def test_evaluation_finds_the_summarys_figures_again(pair, single):
    folder, _, _ = pair
    found = {tuple(row["seed"] for row in running.evaluate_run(folder)["seeds"])}
    assert found == {(3, 4)}
    for place in (folder / "seed-3", folder / "seed-4", single[0]):
        summary = strict_json(place / "summary.json")
        (row,) = running.evaluate_run(place)["seeds"]
        for name in ("test_accuracy", "test_nll", "validation_accuracy", "seed"):
            assert row[name] == summary[name]
    assert [row["test_accuracy"] for row in running.evaluate_run(folder)["seeds"]] == [
        strict_json(folder / f"seed-{seed}" / "summary.json")["test_accuracy"] for seed in (3, 4)
    ]


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    samples = data.load("digits")
    weights = [running.build_system(SMALL, samples, seed) for seed in range(3)]

    def train(system, rule, training_set, validation, config, *, seed, start, report, **options):
        measured = training.evaluate(system, validation)
        rows = []
        for epoch, accuracy in enumerate((0.5, 0.9, 0.7)):
            own = dataclasses.replace(measured, accuracy=accuracy)
            metrics = training.EpochMetrics(
                epoch + 1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 3, 1.0, 1.0, own
            )
            rows.append(metrics)
            report(metrics, training.Trained(weights[epoch], None, tuple(rows), None))
        return training.Trained(weights[2], None, tuple(rows), None)

    monkeypatch.setattr(training, "train", train)
    running.run(SMALL, tmp_path / "run")
    folder = training.RunFolder(tmp_path / "run")
    for name, expected in (("best", weights[1]), ("last", weights[2])):
        assert eqx.tree_equal(stored_weights(folder.path, name, weights[0]), expected)


def test_a_training_that_fails_keeps_the_last_good_weights(tmp_path):
    config = dataclasses.replace(
        SMALL, epochs=3, batch_size=1318, learning_rate=1e38, final_learning_rate=1e38
    )
    with pytest.raises(training.TrainingError, match="Epoch 2 learned nothing"):
        running.run(config, tmp_path / "run")
    files = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "metrics.jsonl",
        "last.eqx",
        "best.eqx",
        "state-000001.eqx",
    }
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    like = running.build_system(config, data.load("digits"), 0)
    kept = stored_weights(tmp_path / "run", "last", like)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(kept, eqx.is_array)))
    assert not eqx.tree_equal(kept, like)


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({"rule": "recurrent-backpropagation"}, 0.5),
        ({"alpha": 4.0}, 0.125),
        ({"alpha": 2.0, "alpha_convention": "batch-mean", "batch_size": 8}, 0.03125),
        ({"alpha": 0.0, "softness": 0.01}, 0.5),
    ],
)
def test_a_penalty_is_in_units_of_the_loss(options, strength):
    config = RunConfig(system="rnn", hidden=(8,), jacobian_penalty=0.5, **options)
    config.check()
    rule = running.build_rule(config)
    assert isinstance(rule, rules.JacobianPenalty)
    # Least control's objective holds the loss divided by the leak.
    assert rule.strength == pytest.approx(strength)


def test_a_training_that_fails_at_once_keeps_the_first_weights(tmp_path):
    # The forward pass of the second step overflows.
    config = dataclasses.replace(SMALL, learning_rate=1e38, final_learning_rate=1e38)
    with pytest.raises(training.TrainingError, match="Epoch 1 met"):
        running.run(config, tmp_path / "run")
    like = running.build_system(config, data.load("digits"), 0)
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
        running.run(dataclasses.replace(SMALL, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_never_overwrites_another(pair):
    folder, _, _ = pair
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(training.FolderError, match="holds files already"):
        running.run(SMALL, folder)
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
        running.evaluate_run(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_path_that_is_no_folder_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a run folder"):
        running.evaluate_run(tmp_path / name)


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_in_place_of_the_configuration_is_not_run(tmp_path):
    (tmp_path / "config.json").write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        running.evaluate_run(tmp_path)
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
    config = RunConfig(
        system=system, alpha=320.0, epochs=2, batch_size=32, learning_rate=5e-3, **IMAGES[system]
    )
    summary = running.run(config, tmp_path / "run")
    assert summary["solve"]["converged_fraction"] > 0.9
    assert summary["test_accuracy"] > 0.3
    (row,) = running.evaluate_run(tmp_path / "run")["seeds"]
    assert row["test_accuracy"] == summary["test_accuracy"]
    models.export(tmp_path / "run", tmp_path / "model")
    test = data.load("digits").test
    found = models.predict(models.load_model(tmp_path / "model"), test.inputs)
    right = [own.label == target for own, target in zip(found, test.targets, strict=True)]
    assert np.mean(right) == pytest.approx(summary["test_accuracy"], abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "residual"}, "one size for a residual: write --hidden 256"),
        ({"depth": 3}, "--depth is 3, but it has no effect without --system residual"),
        ({"system": "residual", "hidden": (4,), "depth": 0}, "--depth is 0, but it must be from 1"),
        ({"augment": "crop"}, "takes pixels in a row: write --system convolutional"),
        ({"system": "deep-equilibrium", "hidden": (4,)}, "--hidden is given, but it has no effect"),
        ({"system": "deep-equilibrium", "activation": "relu"}, "--activation is given"),
        ({"system": "deep-equilibrium", "rule": "backpropagation"}, "recurrent-backpropagation"),
        ({"system": "convolutional", "rule": "deep-feedback-control"}, "--system feedforward"),
        ({"system": "convolutional", "controller": "linear-feedback"}, "straight to the neurons"),
        ({"system": "convolutional", "rule": "direct-feedback-alignment"}, "straight to the"),
        ({"system": "convolutional", "jacobian_penalty": 1.0}, "keeps an rnn solvable"),
    ],
    ids=str,
)
def test_what_a_system_cannot_use_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(**options).check()


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
    config = RunConfig(**{"system": "convolutional", **options})
    with pytest.raises(ConfigError, match=f"cannot be built for digits: .*{message}"):
        running.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
