"""What a device learns from measurements: responses, updates and trainings."""

import dataclasses

import jax
import numpy as np
import pytest
from small_devices import Faulty, device_of, learner_of, samples, trained_on

from leastcontrol import devices
from leastcontrol.devices import Difficulties, Measurement, SimulatedDevice


def test_the_responses_are_those_of_the_device():
    device = device_of(mismatch=0.5, noise=0.02)
    inputs, _ = samples(30)
    random, responses = np.random.default_rng(0), devices.Responses.unknown(14, 3)
    for _ in range(60):
        push = 0.1 * random.choice([-1.0, 1.0], size=(30, 14))
        plus, minus = device.settle(inputs, push), device.settle(inputs, -push)
        responses = responses.updated(push, plus, minus, 1e-7)
    true = device.true_response(inputs)
    error = np.abs(responses.output - true)
    assert error.max() < 0.1 * np.abs(true).max()
    # The filter knows how well it knows them.
    deviation = responses.deviation()[14:]
    assert 0.3 < np.sqrt(np.mean((error / deviation) ** 2)) < 3


def test_the_filter_forgets_under_drift():
    random = np.random.default_rng(0)
    first, second = random.standard_normal((2, 5, 3))
    estimates = {}
    for wandering in (1e-9, 1e-2):
        responses = devices.Responses.unknown(3, 2)
        for place in range(60):
            push = 0.1 * random.choice([-1.0, 1.0], size=(8, 3))
            true = first if place < 40 else second
            noise = 0.01 * random.standard_normal((2, 8, 5))
            plus, minus = push @ true.T + noise[0], -push @ true.T + noise[1]
            responses = responses.updated(
                push,
                Measurement(plus[:, :3], plus[:, 3:]),
                Measurement(minus[:, :3], minus[:, 3:]),
                wandering,
            )
        estimates[wandering] = np.abs(responses.mean - second).max()
    assert estimates[1e-2] < 0.1 < 0.5 < estimates[1e-9]


def test_updates_are_control_behind_times_activity_before():
    description = device_of().describe()
    random = np.random.default_rng(3)
    inputs, state = random.standard_normal((2, 4)), np.tanh(random.standard_normal((2, 14)))
    control = random.standard_normal((2, 14))
    responses = devices.Responses.unknown(14, 3)
    responses = dataclasses.replace(responses, mean=np.concatenate([np.eye(14), np.zeros((3, 14))]))
    updates = devices.local_updates(description, responses, inputs, state, control)
    behind = control[:, 6:11] * (1 - state[:, 6:11] ** 2)
    np.testing.assert_allclose(
        updates["hidden 1 to hidden 2"], np.einsum("bi,bj->ij", behind, state[:, :6]) / 2
    )
    np.testing.assert_allclose(updates["bias of output"][:, 0], control[:, 11:].mean(axis=0))
    # A weight sees nothing but its own two neurons and the sign of its own line.
    moved = np.where(np.arange(14) == 0, control + 1, control)
    other = devices.local_updates(description, responses, inputs, state, moved)
    changed = np.abs(other["inputs to hidden 1"] - updates["inputs to hidden 1"]).max(axis=1) > 0
    assert changed.tolist() == [True] + [False] * 5
    np.testing.assert_array_equal(other["hidden 1 to hidden 2"], updates["hidden 1 to hidden 2"])


def test_a_line_that_certainly_acts_backwards_is_turned_round():
    description = device_of().describe()
    random = np.random.default_rng(3)
    inputs, state = random.standard_normal((2, 4)), 0.1 * random.standard_normal((2, 14))
    control, mean = random.standard_normal((2, 14)), np.concatenate([np.eye(14), np.zeros((3, 14))])
    unknown = devices.Responses.unknown(14, 3)
    straight = dataclasses.replace(unknown, mean=mean, variance=np.full(17, 0.01))
    turned = mean.copy()
    turned[2, 2], turned[4, 4] = -5.0, -3.0
    # Of the second nothing is certain: it is less than four deviations of 1.
    back = dataclasses.replace(straight, mean=turned)
    updates, others = (
        devices.local_updates(description, responses, inputs, state, control)["inputs to hidden 1"]
        for responses in (straight, back)
    )
    signs = np.where(np.arange(6) == 2, -1.0, 1.0)
    np.testing.assert_allclose(others, signs[:, None] * updates)


def test_learned_feedback_follows_the_gradient_of_the_device():
    """For one hidden layer, control behind × activity before is the gradient of the loss."""
    device = SimulatedDevice(4, (6,), 3, Difficulties(mismatch=0.5), seed=0)
    inputs, labels = samples(1)
    responses = devices.Responses.unknown(9, 3)
    random = np.random.default_rng(0)
    for _ in range(40):
        push = 1e-3 * random.choice([-1.0, 1.0], size=(64, 9))
        many = np.repeat(inputs, 64, axis=0)
        responses = responses.updated(
            push, device.settle(many, push), device.settle(many, -push), 1e-9
        )
    free = device.settle(inputs, np.zeros((1, 9)))
    targets = np.eye(3)[labels]
    error = devices.output_error(free.output, targets)
    control = error @ responses.output
    # M already holds the slope of the neuron at this sample.
    updates = {"bias of hidden 1": control[:, :6].T}

    def loss(change):
        probe = SimulatedDevice(4, (6,), 3, Difficulties(mismatch=0.5), seed=0)
        probe.write({"bias of hidden 1": change})
        return devices.classified(probe.settle(inputs, np.zeros((1, 9))).output, labels).nll

    steps = 1e-4 * np.eye(6)[:, :, None]
    slope = np.asarray([(loss(step) - loss(-step)) / 2e-4 for step in steps])
    descent = -slope / updates["bias of hidden 1"][:, 0]
    # Up to the mismatch of the bias and of the line of each neuron, whose signs are the same.
    assert (descent[np.abs(slope) > 1e-4] > 0).mean() >= 5 / 6


@pytest.mark.parametrize("name", ["proportional", "leaky integral"])
def test_training_lowers_the_loss_without_any_derivative(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("A derivative was asked for.")

    for function in ("grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "linearize"):
        monkeypatch.setattr(jax, function, refuse)
    drive = {"proportional": devices.Proportional(), "leaky integral": devices.LeakyIntegral()}[
        name
    ]
    rule = devices.LeastControlRule(drive=drive)
    trained = trained_on(device_of(mismatch=0.3, noise=0.02), rule=rule)
    first, *_, last = trained.metrics
    assert last.loss < 0.6 * first.loss
    assert last.validation.accuracy > 0.9
    assert last.settles == trained.settles == 4 * 4 * (2 + drive.settles)


def test_an_interrupted_training_goes_on_from_what_was_kept():
    device = device_of()
    learner, trained = learner_of(device), devices.TrainedDevice.untrained(device)
    trained = learner.epoch(trained, *samples(20, 1))
    rows = [dataclasses.asdict(each) for each in trained.metrics]
    fresh = devices.TrainedDevice.untrained(device_of())
    restored = fresh.restored(trained.kept(), rows)
    straight = learner.epoch(trained, *samples(20, 1))
    other = device_of()
    again = learner_of(other)
    again.go_on(restored)
    resumed = again.epoch(restored, *samples(20, 1))
    for name, weight in straight.weights.items():
        np.testing.assert_allclose(resumed.weights[name], weight, atol=1e-12)
    assert resumed.settles == straight.settles
    assert resumed.metrics[0] == straight.metrics[0]


def test_small_changes_reach_a_device_with_coarse_steps():
    device = device_of(write_step=0.05, weight_limit=2.0)
    before = device.read()
    trained = trained_on(device, epochs=3)
    moved = np.concatenate([(w - before[n]).ravel() for n, w in device.read().items()])
    np.testing.assert_allclose(moved / 0.05, np.round(moved / 0.05), atol=1e-9)
    assert np.any(moved)
    assert trained.metrics[-1].write_error < 1e-12


def test_what_does_not_fit_is_refused_with_a_sentence():
    device = device_of()
    inputs, labels = samples()
    training = devices.DeviceTraining()
    with pytest.raises(devices.DeviceError, match="3 inputs and 3 classes"):
        devices.DeviceLearner(
            device, devices.LeastControlRule(), training, inputs[:, :3], labels, seed=0
        )
    wrong = Faulty(device, on_measured=lambda m: Measurement(m.state[:, :2], m.output))
    with pytest.raises(devices.DeviceError, match="asks for"):
        trained_on(wrong)
    with pytest.raises(devices.DeviceError, match="goes from 'nowhere'"):
        dataclasses.replace(
            device.describe(), connections=(devices.Connection("a", "nowhere", "output"),)
        )
    with pytest.raises(ValueError, match="`mismatch` is -1"):
        Difficulties(mismatch=-1.0)
    with pytest.raises(ValueError, match="`gain` is 0"):
        devices.Proportional(0.0)
