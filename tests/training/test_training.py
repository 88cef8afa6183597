"""The training room: the loop against its definition, evaluation, and what a run leaves on disk."""

import dataclasses
import json
import math
import os
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import leastcontrol as lc
from leastcontrol import data, files, training
from leastcontrol.training import TrainingConfig
from leastcontrol.training._optimisers import updated_weights
from leastcontrol.training._step import finite_mean

FEATURES, CLASSES = 5, 12
MADE = data.Provenance(source="made here", licence="none", origin="memory", checksums={})


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


def dataset(count=CLASSES, classes=CLASSES, seed=0):
    """Returns random inputs; the label of sample i is i modulo the classes, so it names it."""
    inputs = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)
    targets = (np.arange(count) % classes).astype(np.int32)
    return data.Dataset("made", inputs, targets, classes, (FEATURES,), MADE)


def network(outputs=CLASSES, hidden=(4,), seed=0):
    return lc.Feedforward(FEATURES, hidden, outputs, key=jax.random.key(seed))


def recurrent(outputs=CLASSES):
    return lc.EquilibriumRNN(FEATURES, 6, outputs, key=jax.random.key(0))


def backpropagation():
    return lc.Backpropagation(loss=lc.CrossEntropy())


def least_control(controller=None, **options):
    controller = lc.DynamicInversion() if controller is None else controller
    return lc.LeastControl(controller, 6.4, loss=lc.CrossEntropy(), **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))


class Recording(lc.rules.AbstractRuleWithoutFeedback):
    """Another rule that notes the labels of every batch."""

    loss: lc.AbstractLoss
    inner: lc.AbstractRule
    seen: list = eqx.field(static=True)

    @property
    def aspects(self):
        return lc.rules.Aspects(self)

    def __call__(self, system, feedback, batch, *, key=None):
        jax.debug.callback(
            lambda targets: self.seen.append(np.asarray(targets)), batch.targets, ordered=True
        )
        return self.inner(system, feedback, batch, key=key)


def order_of(inner, seed, epochs=3, batch_size=5):
    seen = []
    rule = Recording(inner.loss, inner, seen)
    config = TrainingConfig(epochs=epochs, batch_size=batch_size)
    training.train(network(), rule, dataset(), dataset(), config, seed=seed)
    jax.effects_barrier()
    return np.stack(seen).reshape(epochs, -1)


# --- the loop -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("make", [network, recurrent])
def test_a_warm_start_learns_the_same_in_fewer_steps(make):
    # Slow enough that a rest point is still near an epoch later.
    slow = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-4, "final_learning_rate": 1e-4}
    rule = lc.LeastControl(lc.DynamicInversion(), 1.0)
    trained = [
        training.train(
            make(), rule, dataset(), dataset(), TrainingConfig(**slow, warm_start=warm), seed=3
        )
        for warm in (False, True)
    ]
    cold, warm = (run.metrics for run in trained)
    assert warm[-1].steps_mean < cold[-1].steps_mean - 1
    assert all(epoch.converged_fraction == 1 for epoch in (*cold, *warm))
    for leaf, other in zip(leaves(trained[0].system), leaves(trained[1].system), strict=True):
        # Adam's first steps are as long however small a gradient is, and so are their differences.
        np.testing.assert_allclose(leaf, other, rtol=0, atol=2e-5)
    assert trained[0].points is None
    assert trained[1].points.output_control.shape == (CLASSES, CLASSES)


def test_batches_are_the_seeds_and_not_the_rules():
    by_backpropagation = order_of(backpropagation(), seed=3)
    assert np.array_equal(by_backpropagation, order_of(least_control(), seed=3))
    assert not np.array_equal(by_backpropagation, order_of(backpropagation(), seed=4))


def test_each_epoch_is_shuffled_anew_and_shows_no_sample_twice():
    epochs = order_of(backpropagation(), seed=0)
    assert epochs.shape == (3, 10)
    assert all(len(set(epoch)) == 10 for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3


@pytest.mark.parametrize("clip", [None, 0.05])
def test_backpropagation_is_the_loop_written_by_hand(clip):
    samples, system = dataset(), network(hidden=(4, 3))
    config = TrainingConfig(3, CLASSES, 1e-2, 1e-3, clip)
    trained = training.train(system, backpropagation(), samples, samples, config, seed=0)

    def loss_of_layers(layers):
        state = jnp.asarray(samples.inputs)
        for number, (weight, bias) in enumerate(layers):
            state = (state if number == 0 else jnp.tanh(state)) @ weight.T + bias[None]
        return -jnp.mean(jax.nn.log_softmax(state)[np.arange(CLASSES), samples.targets])

    layers = [(layer.weight, layer.bias) for layer in system.layers]
    adam = optax.scale_by_adam()
    state, losses = adam.init(layers), []
    for step in range(3):
        value, gradient = jax.value_and_grad(loss_of_layers)(layers)
        losses.append(float(value))
        if clip is not None:
            factor = min(1.0, clip / float(optax.tree.norm(gradient)))
            gradient = jax.tree.map(lambda leaf, factor=factor: factor * leaf, gradient)
        update, state = adam.update(gradient, state)
        # The last rate would be reached at the step after the last.
        rate = 1e-3 + (1e-2 - 1e-3) * (1 + math.cos(math.pi * step / 3)) / 2
        layers = jax.tree.map(lambda a, b, rate=rate: a - rate * b, layers, update)
    assert [epoch.loss for epoch in trained.metrics] == pytest.approx(losses, abs=1e-6)
    for layer, (weight, bias) in zip(trained.system.layers, layers, strict=True):
        np.testing.assert_allclose(layer.weight, weight, atol=1e-6)
        np.testing.assert_allclose(layer.bias, bias, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "epochs", "learning_rate", "bar"),
    [("feedforward", 2, 1e-2, 0.85), ("rnn", 1, 1e-3, 0.2)],
)
def test_least_control_learns_the_digits(system, epochs, learning_rate, bar):
    splits = data.load("digits")
    key = jax.random.key(0)
    start = (
        lc.Feedforward(64, (64,), 10, key=key)
        if system == "feedforward"
        else lc.EquilibriumRNN(64, 32, 10, key=key)
    )
    config = TrainingConfig(epochs, 32, learning_rate, learning_rate / 10)
    trained = training.train(
        start, least_control(), splits.train, splits.validation, config, seed=0
    )
    last = trained.metrics[-1]
    assert training.evaluate(trained.system, splits.test).accuracy > bar
    assert last.loss < 2.3
    assert last.converged_fraction > 0.99
    assert last.residual_max <= 1
    assert last.control_energy >= last.control_norm**2 > 0
    assert 1 <= last.steps_mean <= last.steps_max
    assert last.step_ms > 0
    assert trained.feedback is None


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    samples, config = dataset(), TrainingConfig(1, 4)
    first, again, other = (
        training.train(network(), backpropagation(), samples, samples, config, seed=seed).system
        for seed in (5, 5, 6)
    )
    assert same(first, again)
    assert not same(first, other)


class Paired(lc.AbstractRule):
    """Backpropagation beside feedback with given gradients, or with none."""

    loss: lc.AbstractLoss = lc.CrossEntropy()
    slope: float | None = 0.3

    @property
    def aspects(self):
        return lc.rules.Aspects(self)

    def init(self, system, *, key):
        return {"matrix": jax.random.normal(key, (3, 2)), "vector": jnp.ones(2), "count": 7}

    def __call__(self, system, feedback, batch, *, key=None):
        credit = lc.Backpropagation(self.loss)(system, None, batch)
        learned = eqx.filter(feedback, eqx.is_inexact_array)
        given = None if self.slope is None else jax.tree.map(lambda a: self.slope * a, learned)
        return eqx.tree_at(
            lambda c: c.feedback_gradient, credit, given, is_leaf=lambda node: node is None
        )


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.05])
def test_feedback_learns_by_its_own_optimiser_and_decays_outside_of_it(clip):
    samples, system, rule = dataset(), network(hidden=(4, 3)), Paired()
    config = TrainingConfig(3, CLASSES, 1e-2, 1e-3, clip, 0.1, feedback_learning_rate=0.2)
    trained = training.train(system, rule, samples, samples, config, seed=0)
    plain = dataclasses.replace(config, weight_decay=0.0)
    assert trained.feedback["count"] == 7

    # Adam by hand on the feedback, shortened by the factor of the system's gradient.
    adam = optax.scale_by_adam()
    first = rule.init(system, key=jax.random.split(jax.random.key(0), 3)[1])
    feedback = {name: first[name] for name in ("matrix", "vector")}
    state, weights = adam.init(feedback), system
    moving = training.make_optimiser(plain, 3)
    moments = moving.init(eqx.filter(weights, eqx.is_inexact_array))
    batch = lc.Batch(jnp.asarray(samples.inputs), jnp.asarray(samples.targets))
    for step in range(3):
        credit = rule(weights, first | feedback, batch)
        factor = 1.0 if clip is None else min(1.0, clip / float(optax.tree.norm(credit.gradient)))
        assert clip is None or factor < 1
        gradient = jax.tree.map(lambda leaf, factor=factor: 0.3 * factor * leaf, feedback)
        update, state = adam.update(gradient, state)
        rate = 0.2 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 3)) / 2)
        after = jax.tree.map(lambda a, b, rate=rate: a - rate * b, feedback, update)
        feedback = after | {"matrix": after["matrix"] - 0.1 * feedback["matrix"]}
        updates, moments = moving.update(credit.gradient, moments)
        matrices = [0.1 * layer.weight for layer in weights.layers]
        weights = eqx.apply_updates(weights, updates)
        weights = eqx.tree_at(
            lambda s: [layer.weight for layer in s.layers],
            weights,
            [layer.weight - matrix for layer, matrix in zip(weights.layers, matrices, strict=True)],
        )
    for name, expected in feedback.items():
        np.testing.assert_allclose(trained.feedback[name], expected, atol=1e-5)
    for leaf, expected in zip(leaves(trained.system), leaves(weights), strict=True):
        np.testing.assert_allclose(leaf, expected, atol=1e-5)


def test_weights_decay_by_their_share_and_biases_do_not():
    weights = {"weight": jnp.full((2, 3), 4.0), "bias": jnp.full(2, 4.0)}
    updates = {"weight": jnp.full((2, 3), 0.5), "bias": jnp.full(2, 0.5)}
    moved = updated_weights(weights, updates, decay=0.25)
    np.testing.assert_allclose(moved["weight"], 4 + 0.5 - 0.25 * 4)
    np.testing.assert_allclose(moved["bias"], 4 + 0.5)


def test_feedback_without_a_gradient_stays_as_it_was():
    samples, rule = dataset(), Paired(slope=None)
    config = TrainingConfig(2, 6, weight_decay=0.1)
    trained = training.train(network(), rule, samples, samples, config, seed=0)
    first = rule.init(network(), key=jax.random.split(jax.random.key(0), 3)[1])
    assert same(trained.feedback, first)


def test_the_report_has_each_epochs_figures_and_weights():
    reports, samples = [], dataset()
    trained = training.train(
        network(),
        backpropagation(),
        samples,
        samples,
        TrainingConfig(2, 6),
        seed=0,
        report=lambda metrics, trained: reports.append((metrics, trained.system)),
    )
    assert [metrics for metrics, _ in reports] == list(trained.metrics)
    assert [metrics.epoch for metrics, _ in reports] == [1, 2]
    assert same(reports[1][1], trained.system)
    assert not same(reports[0][1], trained.system)
    assert reports[1][0].validation == training.evaluate(trained.system, samples)


def test_a_loss_that_is_not_finite_stops_the_training():
    samples = dataset()
    config = TrainingConfig(3, 12, learning_rate=1e38, final_learning_rate=1e38)
    with pytest.raises(training.TrainingError, match=r"Epoch 2 met .* not finite") as caught:
        training.train(network(), backpropagation(), samples, samples, config, seed=0)
    kept = caught.value.trained
    assert len(kept.metrics) == 1
    assert all(np.isfinite(leaf).all() for leaf in leaves(kept.system))
    assert not same(kept.system, network())


class Noting(lc.rules.AbstractRuleWithoutFeedback):
    """Another rule that notes of every call whether it solved all samples.

    `inner` is seen by who looks for a safeguard in it, and `hidden` is not.
    """

    loss: lc.AbstractLoss
    inner: lc.AbstractRule | None
    hidden: lc.AbstractRule | None = eqx.field(static=True)
    seen: list = eqx.field(static=True)

    @property
    def aspects(self):
        return lc.rules.Aspects(self)

    def __call__(self, system, feedback, batch, *, key=None):
        credit = (self.inner or self.hidden)(system, feedback, batch, key=key)
        note = lambda all_solved: self.seen.append(bool(all_solved))  # noqa: E731
        jax.debug.callback(note, lc.solved(credit.solution).all(), ordered=True)
        return credit


@pytest.mark.slow
def test_a_safeguard_comes_in_where_a_batch_needs_it_and_changes_nothing_else():
    # Six sweeps solve most samples and not all of them, and an epoch has four batches.
    controller = lc.Automatic(lc.Tolerance(1e-3), lc.FixedPoint(max_steps=6, relax=True))
    rule = lc.LeastControl(controller, 0.5, loss=lc.CrossEntropy(), unsolved=lc.RaiseError())
    config = TrainingConfig(epochs=2, batch_size=3, learning_rate=1e-4)
    runs = []
    for inner, hidden in ((rule, None), (None, rule)):
        seen = []
        noting = Noting(rule.loss, inner, hidden, seen)
        trained = training.train(network(), noting, dataset(), dataset(), config, seed=0)
        jax.effects_barrier()
        runs.append((trained, seen))
    (split, of_split), (whole, of_whole) = runs
    # Once an epoch a batch is not solved at the first attempt, and seen again.
    for epoch in (of_split[:5], of_split[5:]):
        assert len(epoch) == 5
        assert epoch.count(False) == 1
        assert epoch[-1]
    assert of_whole == [True] * 8
    for one, other in zip(leaves(split.kept()), leaves(whole.kept()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(split.metrics, whole.metrics, strict=True):
        assert one.converged_fraction == other.converged_fraction == 1
        assert one.steps_max == other.steps_max > 6
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_a_step_in_which_no_sample_counts_is_no_part_of_the_means():
    """One sample in each step, of which one is no number: the mean is that of the others."""
    made = dataset()
    made.inputs[1] = np.nan
    config = TrainingConfig(epochs=1, batch_size=1, learning_rate=1e-12, final_learning_rate=0.0)
    trained = training.train(network(), backpropagation(), made, dataset(), config, seed=0)
    others = np.delete(np.arange(CLASSES), 1)
    outputs = jax.vmap(lambda x: network().readout(network().settle(network().drive(x), zeros())))(
        made.inputs[others]
    )
    losses = jax.vmap(lc.CrossEntropy())(outputs, jnp.asarray(made.targets[others]))
    (metrics,) = trained.metrics
    assert metrics.loss == pytest.approx(float(jnp.mean(losses)), rel=1e-4)
    assert metrics.converged_fraction == pytest.approx(len(others) / CLASSES)
    assert all(np.isfinite(leaf).all() for leaf in leaves(trained.system))


def zeros():
    """No control of the hidden layer."""
    return (jnp.zeros(4),)


def test_an_epoch_without_a_solved_sample_stops_the_training():
    rule = least_control(lc.DynamicInversion(solver=lc.FixedPoint(max_steps=1)))
    with pytest.raises(training.TrainingError, match="Epoch 1 learned nothing") as caught:
        training.train(recurrent(), rule, dataset(), dataset(), TrainingConfig(2, 6), seed=0)
    assert same(caught.value.trained.system, recurrent())


def test_a_policy_that_raises_stops_the_training_without_a_traceback(caplog):
    rule = least_control(
        lc.DynamicInversion(solver=lc.FixedPoint(max_steps=1)), unsolved=lc.RaiseError()
    )
    with pytest.raises(training.TrainingError, match="equilibrium was not found") as caught:
        training.train(recurrent(), rule, dataset(), dataset(), TrainingConfig(2, 6), seed=0)
    assert "\n" not in str(caught.value)
    assert same(caught.value.trained.system, recurrent())
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("system", "batch_size", "message"),
    [
        (lambda: network(), 13, "`batch_size` is 13, but there are 12 training samples"),
        (lambda: network(outputs=7), 4, "The labels run from 0 to 11, but .* 7 outputs"),
        (lambda: lc.Feedforward(3, (4,), 12, key=jax.random.key(0)), 4, "inputs of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused(system, batch_size, message):
    samples = dataset()
    with pytest.raises(ValueError, match=message):
        training.train(
            system(), backpropagation(), samples, samples, TrainingConfig(1, batch_size), seed=0
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("final_learning_rate", -1e-4),
        ("final_learning_rate", 1.0),
        ("final_learning_rate", math.nan),
        ("gradient_clip", 0.0),
        ("gradient_clip", math.inf),
        ("gradient_clip", math.nan),
        ("weight_decay", -1e-6),
        ("weight_decay", 1.0),
        ("weight_decay", math.nan),
        ("feedback_learning_rate", 0.0),
        ("feedback_learning_rate", math.inf),
        ("feedback_learning_rate", math.nan),
    ],
)
def test_a_training_configuration_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^`{name}` is {value}, but .*: write {name}="):
        dataclasses.replace(TrainingConfig(), **{name: value})


# --- evaluation -----------------------------------------------------------------------------------


def test_the_figures_are_those_of_a_forward_pass_whatever_the_batch_size():
    samples, system = dataset(count=30, classes=4), network(outputs=4)
    first, last = system.layers
    hidden = np.tanh(samples.inputs @ np.asarray(first.weight).T + np.asarray(first.bias))
    outputs = hidden @ np.asarray(last.weight).T + np.asarray(last.bias)
    share = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    accuracy = np.mean(outputs.argmax(1) == samples.targets)
    nll = -np.mean(np.log(share[np.arange(30), samples.targets]))
    assert 0 < accuracy < 1
    for batch_size in (1000, 7, 1):
        evaluation = training.evaluate(system, samples, batch_size=batch_size)
        assert evaluation.accuracy == pytest.approx(accuracy, abs=1e-12)
        assert evaluation.nll == pytest.approx(nll, abs=1e-5)
        assert evaluation.converged_fraction == 1


def test_an_unsolved_sample_counts_as_wrong():
    samples, system = dataset(count=30, classes=4), recurrent(outputs=4)
    solved = training.evaluate(system, samples)
    assert solved.accuracy > 0
    assert solved.converged_fraction == 1
    hurried = training.evaluate(system, samples, solver=lc.FixedPoint(max_steps=1))
    assert hurried.accuracy == 0
    assert hurried.converged_fraction == 0


@pytest.mark.parametrize("batch_size", [1000, 7])
def test_answers_are_counted_by_class(batch_size):
    samples, system = dataset(count=30, classes=4), network(outputs=4)
    first, last = system.layers
    hidden = np.tanh(samples.inputs @ np.asarray(first.weight).T + np.asarray(first.bias))
    outputs = hidden @ np.asarray(last.weight).T + np.asarray(last.bias)
    answers = outputs.argmax(1)
    expected = [
        [int(np.sum((samples.targets == a) & (answers == b))) for b in range(4)] for a in range(4)
    ]
    evaluation, confusion = training.evaluate_and_count(system, samples, batch_size=batch_size)
    assert evaluation == training.evaluate(system, samples, batch_size=batch_size)
    assert confusion.counts == tuple(map(tuple, expected))
    assert confusion.unsolved == (0, 0, 0, 0)
    assert len(set(answers)) > 1


def test_an_unsolved_sample_has_no_answer():
    samples = dataset(count=30, classes=4)
    hurried = lc.FixedPoint(max_steps=1)
    _, confusion = training.evaluate_and_count(recurrent(outputs=4), samples, solver=hurried)
    assert np.sum(confusion.counts) == 0
    assert confusion.unsolved == tuple(np.bincount(samples.targets, minlength=4))


def test_a_batch_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        training.evaluate(network(), dataset(), batch_size=0)


# --- the run folder -------------------------------------------------------------------------------


def not_a_number(text):
    raise AssertionError(f"{text} is not JSON")


# What tells a run from others.
RUN = {"rule": "least-control"}


def test_files_are_strict_json(tmp_path):
    value = {"a": math.nan, "b": [1.5, math.inf], "c": {"d": (-math.inf, "NaN", 3, None, True)}}
    expected = {"a": None, "b": [1.5, None], "c": {"d": [None, "NaN", 3, None, True]}}
    files.write_json(tmp_path / "one.json", value)
    folder = training.RunFolder.create(tmp_path / "run")
    folder.append_metrics(value)
    folder.append_metrics({"epoch": 2})
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for text in ((tmp_path / "one.json").read_text(encoding="utf-8"), lines[0]):
        parsed = json.loads(text, parse_constant=not_a_number)
        parsed.pop("checksum", None)
        assert parsed == expected
    assert [files.parse_record(line, "it", required=True) for line in lines[1:]] == [{"epoch": 2}]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    files.write_json(path, 1)
    folder = training.RunFolder.create(tmp_path / "run")
    folder.save_weights("last", network(), RUN)
    before = (tmp_path / "run" / "checkpoints" / "last.eqx").read_bytes()
    with pytest.raises(TypeError):
        files.write_json(path, {"unknown": object()})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(files.FileError, match=r"one\.json could not be written: No space"):
        files.write_json(path, 2)
    with pytest.raises(training.FolderError, match=r"last\.eqx could not be written: No space"):
        folder.save_weights("last", network(seed=1), RUN)
    assert path.read_text(encoding="utf-8") == "1\n"
    assert (tmp_path / "run" / "checkpoints" / "last.eqx").read_bytes() == before
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["last.eqx", "one.json"]


def test_nothing_is_seen_at_its_place_before_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    moved = []
    replace = os.replace

    def watched(source, target):
        moved.append((json.loads(source.read_text(encoding="utf-8")), target.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    files.write_json(path, {"whole": 1})
    assert moved == [({"whole": 1}, False)]
    assert os.listdir(tmp_path) == ["one.json"]


def test_weights_come_back_as_they_were(tmp_path):
    folder = training.RunFolder.create(tmp_path / "new" / "run")
    folder.save_weights("last", network(seed=3), RUN)
    assert same(folder.load_weights("last", network(seed=0), RUN), network(seed=3))
    # Feedback weights lie in the same file.
    pair = (network(seed=3), {"Q": jnp.arange(3.0)})
    folder.save_weights("pair", pair, RUN)
    assert same(folder.load_weights("pair", (network(), {"Q": jnp.zeros(3)}), RUN), pair)


def test_a_folder_that_cannot_be_a_new_run_is_refused(tmp_path):
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "note").write_text("mine", encoding="utf-8")
    for path, message in (
        (occupied, "holds files already"),
        (occupied / "note", "cannot be made or read"),
        (occupied / "note" / "run", "cannot be made or read"),
    ):
        with pytest.raises(training.FolderError, match=f"{message}.*--out DIR"):
            training.RunFolder.create(path)
    assert os.listdir(occupied) == ["note"]


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    # The permission bits say nothing to a superuser, who may run these tests.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(training.FolderError, match="not writable"):
        training.RunFolder.create(tmp_path / "run")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_loading_weights_never_runs_code(tmp_path):
    folder = training.RunFolder.create(tmp_path / "run")
    folder.save_weights("last", network(), RUN)
    checkpoint, marker = tmp_path / "run" / "checkpoints" / "last.eqx", tmp_path / "marker"
    # Of a version that did not seal its weights, so that the arrays themselves are read.
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    array = np.empty(1, dtype=object)
    array[0] = Bomb(marker)
    pickle.loads(pickle.dumps(array[0])).close()
    assert marker.exists(), "the bomb would not have gone off"
    marker.unlink()

    checkpoint.write_bytes(pickle.dumps(array[0]))
    with pytest.raises(training.FolderError, match="does not hold the weights"):
        folder.load_weights("last", network(), RUN)
    with checkpoint.open("wb") as file:
        np.save(file, array, allow_pickle=True)
    with pytest.raises(training.FolderError, match="does not hold the weights"):
        folder.load_weights("last", network(), RUN)
    assert not marker.exists()


def test_damaged_and_foreign_weights_are_refused(tmp_path):
    folder = training.RunFolder.create(tmp_path / "run")
    with pytest.raises(training.FolderError, match=r"last\.eqx does not exist"):
        folder.load_weights("last", network(), RUN)
    folder.save_weights("last", network(), RUN)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.eqx"
    whole = checkpoint.read_bytes()
    for other in (network(hidden=(5,)), network(hidden=(4, 4)), recurrent()):
        with pytest.raises(training.FolderError, match="does not hold the weights"):
            folder.load_weights("last", other, RUN)
    for damaged in (b"", whole[:-1], whole[:100], b"x" + whole[1:], whole + whole):
        checkpoint.write_bytes(damaged)
        with pytest.raises(training.FolderError, match="does not hold the weights"):
            folder.load_weights("last", network(), RUN)


def test_what_is_no_file_is_written_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_json(pipe, {"a": 1})
        assert json.loads(os.read(reader, 100)) == {"a": 1}
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_norm_of_the_control_is_the_mean_of_what_is_finite():
    values = jnp.array([1.0, jnp.nan, 3.0, jnp.inf])
    assert finite_mean(values) == 2
    assert jnp.isnan(finite_mean(values[1:2]))


def test_a_mesh_of_one_device_trains_what_no_mesh_does():
    rule = lc.LeastControl(lc.DynamicInversion(), lc.RelativeLeak(1.0))
    course = training.CosineCourse(0.2, 0.8)
    config = TrainingConfig(epochs=1, batch_size=4, strength=course)

    def trained(mesh):
        splits = dataset(), dataset()
        return training.train(network(), rule, *splits, config, seed=0, mesh=mesh).system

    systems = trained(training.device_mesh(1)), trained(None)
    for one, other in zip(*map(jax.tree.leaves, systems), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
