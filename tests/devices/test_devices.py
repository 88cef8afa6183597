"""Devices in the loop: what is learned from measurements, and what measurements are worth."""

import dataclasses

import jax
import numpy as np
import pytest

from leastcontrol import devices
from leastcontrol.devices import Difficulties, Measurement, SimulatedDevice

HIDDEN = (6, 5)


def device_of(seed=0, **difficulties):
    return SimulatedDevice(4, HIDDEN, 3, Difficulties(**difficulties), seed=seed)


def samples(count=40, seed=0):
    """Points around three corners, which a small network can tell apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return np.eye(4)[labels] * 2 + 0.2 * random.standard_normal((count, 4)), labels


def learner_of(device, rule=None, epochs=4):
    training = devices.DeviceTraining(epochs=epochs, batch_size=10, learning_rate=0.02)
    inputs, labels = samples()
    rule = rule or devices.LeastControlRule()
    return devices.DeviceLearner(device, rule, training, inputs, labels, seed=1)


def trained_on(device, epochs=4, rule=None):
    learner = learner_of(device, rule, epochs)
    trained = devices.TrainedDevice.untrained(device)
    for _ in range(epochs):
        trained = learner.epoch(trained, *samples(20, 1))
    return trained


class Faulty(devices.AbstractDevice):
    """A device with one fault between it and the host."""

    def __init__(self, device, on_control=lambda control: control, on_measured=lambda m: m):
        self.device, self.on_control, self.on_measured = device, on_control, on_measured

    def describe(self):
        return self.device.describe()

    def settle(self, inputs, control):
        return self.on_measured(self.device.settle(inputs, self.on_control(control.copy())))

    def read(self):
        return self.device.read()

    def write(self, changes):
        self.device.write(changes)


# --- The simulated device


def test_a_device_without_difficulties_settles_as_its_equations_say():
    device = device_of()
    inputs, _ = samples(7)
    control = np.random.default_rng(2).standard_normal((7, 14))
    weights = device.read()
    names = ["inputs", "hidden 1", "hidden 2", "output"]
    rate, states = inputs, []
    for after, push in zip(range(1, 4), np.split(control, [6, 11], axis=1), strict=True):
        weight = weights[f"{names[after - 1]} to {names[after]}"]
        voltage = rate @ weight.T + weights[f"bias of {names[after]}"][:, 0] + push
        rate = np.tanh(voltage) if after < 3 else voltage
        states.append(rate)
    measured = device.settle(inputs, control)
    np.testing.assert_allclose(measured.state, np.concatenate(states, axis=1), rtol=1e-12)
    np.testing.assert_allclose(measured.output, states[-1], rtol=1e-12)
    # Given long enough, the delayed dynamics come to the same rest.
    slow = device_of(settling_time=60.0).settle(inputs, control)
    np.testing.assert_allclose(slow.state, measured.state, atol=1e-9)
    early = device_of(settling_time=0.5).settle(inputs, control)
    assert np.abs(early.output - measured.output).max() > 0.1


def test_the_true_response_is_what_control_does():
    device = device_of(mismatch=0.5, dead_units=1)
    inputs, _ = samples(5)
    response = device.true_response(inputs)
    for line in range(14):
        push = np.zeros((5, 14))
        push[:, line] = 1e-4
        difference = device.settle(inputs, push).output - device.settle(inputs, -push).output
        np.testing.assert_allclose(response[:, line], difference.mean(0) / 2e-4, atol=1e-6)


def test_noise_has_the_deviation_that_is_asked_for():
    device = device_of(noise=0.0, reading_noise=0.03)
    inputs = np.repeat(samples(1)[0], 4000, axis=0)
    output = device.settle(inputs, np.zeros((4000, 14))).output
    np.testing.assert_allclose(output.std(axis=0), 0.03, rtol=0.05)


def test_writes_are_stepped_limited_and_asymmetric():
    device = device_of(write_step=0.1, weight_limit=0.5)
    before, shape = device.read()["bias of output"], (3, 1)
    device.write({"bias of output": np.full(shape, 0.26)})
    np.testing.assert_allclose(device.read()["bias of output"] - before, 0.3)
    device.write({"bias of output": np.full(shape, 9.0)})
    np.testing.assert_allclose(device.read()["bias of output"], 0.5)
    slanted = device_of(write_asymmetry=0.3)
    for sign in (1.0, -1.0):
        slanted.write({"bias of output": np.full(shape, sign)})
    # Up and down again does not lead back: 1 + aξ upwards and 1 − aξ downwards.
    assert np.abs(slanted.read()["bias of output"]).max() > 0.05


def test_drift_is_a_walk_of_the_effective_weights():
    device = device_of(drift=0.5)
    inputs = np.ones((600, 4))
    start = device.settle(inputs[:1], np.zeros((1, 14))).output
    for _ in range(100):
        device.settle(inputs, np.zeros((600, 14)))
    assert np.abs(device.settle(inputs[:1], np.zeros((1, 14))).output - start).max() > 0.1
    # What is read does not show it.
    np.testing.assert_array_equal(
        device.read()["inputs to hidden 1"], device_of().read()["inputs to hidden 1"]
    )


def test_a_device_goes_on_from_its_memory_in_the_same_bits():
    inputs, control = np.ones((6, 4)), np.zeros((6, 14))
    first, second = (device_of(noise=0.1, drift=50.0, write_asymmetry=0.3) for _ in range(2))
    first.settle(inputs, control)
    first.write({"bias of output": np.full((3, 1), 0.2)})
    second.remember(first.memory())
    for _ in range(2):
        expected, measured = (device.settle(inputs, control) for device in (first, second))
        np.testing.assert_array_equal(measured.state, expected.state)
    for name, weight in first.read().items():
        np.testing.assert_array_equal(second.read()[name], weight)


# --- What is learned


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


# --- The output controller


def test_the_output_controller_gives_way_where_the_error_grows():
    """The output falls when it should rise: whatever the gain, the error only grows."""
    target = np.asarray([[0.9, 0.1]])

    def settle(control):
        return Measurement(control, -5 * control)

    drive = devices.LeakyIntegral(gain=1.0, count=6)
    driven = drive.drive(settle, np.zeros((1, 2)), target, np.eye(2), None)
    one = devices.Proportional(1.0).drive(settle, np.zeros((1, 2)), target, np.eye(2), None)
    assert np.linalg.norm(driven.control) <= np.linalg.norm(one.control)
    right = drive.drive(
        lambda control: Measurement(control, control), np.zeros((1, 2)), target, np.eye(2), None
    )
    assert right.remaining[0] < 0.5 < 1 < one.remaining[0]


def test_a_limit_of_the_control_is_honoured_and_told():
    largest = 0.0

    def settle(control):
        nonlocal largest
        largest = max(largest, np.abs(control).max())
        return Measurement(control, 0.1 * control)

    drive = devices.LeakyIntegral(gain=1.0, leak=0.0, count=5)
    driven = drive.drive(settle, np.zeros((1, 2)), np.asarray([[1.0, 0.0]]), np.eye(2), 0.6)
    assert largest == 0.6
    assert driven.saturated.all()


# --- Certificates


def test_samples_are_judged_by_two_settles():
    random = np.random.default_rng(0)
    output = np.tile([0.0, 5.0], (200, 1))
    output[0] = [1.0, 1.001]
    first, second = (output + 0.01 * random.standard_normal(output.shape) for _ in range(2))
    second[1] += 1.0
    second[2, 0] = np.nan
    saturated = np.arange(200) == 3
    state = np.zeros((200, 1))
    certificate, results = devices.judge(
        Measurement(state, first), Measurement(state, second), saturated
    )
    names = [tuple(devices.RESULTS)[place] for place in results[:5]]
    assert names == ["noise-limited", "drifting", "failed", "saturated", "settled"]
    assert certificate.counts["settled"] == 196
    assert sum(certificate.counts.values()) == 200


def test_noise_of_unequal_samples_is_no_drift():
    """Some samples are noisier than others; one of them jumps, and then all of them move."""
    random = np.random.default_rng(0)
    scale = 0.01 * np.exp(0.8 * random.standard_normal((4000, 1)))
    output = np.tile([0.0, 5.0, 1.0], (4000, 1))
    first, second = (output + scale * random.standard_normal(output.shape) for _ in range(2))
    state = np.zeros((4000, 1))
    quiet = np.zeros(4000, bool)

    def drifting(after):
        certificate, _ = devices.judge(Measurement(state, first), Measurement(state, after), quiet)
        return certificate.counts["drifting"]

    difference = np.abs(second - first).max(axis=1)
    floor = np.sqrt(np.mean(devices.noise_floors(first, second) ** 2))
    # More than six noise floors are not rare where noise is not normal.
    assert np.sum(difference > 6 * np.sqrt(2) * floor) > 10
    assert drifting(second) <= 2
    jumped = second.copy()
    jumped[7, 0] += 3.0
    assert drifting(jumped) == drifting(second) + 1
    assert drifting(second + np.asarray([3.0, 0.0, 0.0])) == 4000


def healthy(m):
    return m


def nan_at(m):
    output = m.output.copy()
    output[::5, 2] = np.nan
    return m._replace(output=output)


def frozen_at(m):
    output = m.output.copy()
    output[:, 1] = 0.7
    return m._replace(output=output)


def flipped(control):
    control[:, 3] *= -1
    return control


def swapped(control):
    control[:, [7, 10]] = control[:, [10, 7]]
    return control


@pytest.mark.parametrize(
    ("on_control", "on_measured", "expected"),
    [
        (lambda c: c, healthy, None),
        (lambda c: c, nan_at, "Output 2 was not finite in 24 of 120 samples."),
        (lambda c: c, frozen_at, "Output 1 is frozen"),
        (flipped, healthy, "control line of hidden 1[3] has its sign flipped"),
        (swapped, healthy, "control line of hidden 2[1] is swapped: it moves hidden 2[4]"),
    ],
)
def test_a_fault_is_named_within_an_epoch(on_control, on_measured, expected):
    trained = trained_on(Faulty(device_of(noise=0.02), on_control, on_measured), epochs=1)
    faults = trained.metrics[-1].faults
    if expected is None:
        assert faults == ()
        return
    assert any(expected in fault for fault in faults), faults
    assert len(faults) <= 2
    weights = trained.weights.values()
    assert all(np.isfinite(weight).all() for weight in weights)


def test_chance_among_many_neurons_is_no_swapped_line():
    """Neurons that differ between samples and answer to no line, and readings with noise."""
    random = np.random.default_rng(0)
    population = devices.Population("neurons", 300)
    watch = devices.Watch(devices.Description(1, (population,), ()))
    for _ in range(10):
        sample = random.standard_normal((40, 300))
        signs = random.choice([-1.0, 1.0], size=(40, 300))
        shaken = [sample + 0.1 * random.standard_normal((40, 300)) for _ in range(2)]
        pair = [Measurement(state, state) for state in shaken]
        watch.add_pair(signs, *pair)
        for each in pair:
            watch.add(each)
    assert not [fault for fault in watch.faults() if "swapped" in fault]


def test_a_dead_neuron_is_named():
    device = device_of(noise=0.02, dead_units=2)
    faults = trained_on(device, epochs=1).metrics[-1].faults
    assert len(faults) == 2
    assert all("is frozen" in fault for fault in faults)


# --- Refusals


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
