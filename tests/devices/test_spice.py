"""A circuit in ngspice: volts against hand computations, resistors that are written, and ends."""

import shutil
import signal

import jax
import numpy as np
import pytest

from leastcontrol import devices
from leastcontrol.devices import SpiceDevice

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="there is no ngspice: install Debian's ngspice"
)


@pytest.fixture
def opened():
    circuits = []

    def open_(*sizes, **options):
        circuits.append(SpiceDevice(*sizes, **options))
        return circuits[-1]

    yield open_
    for circuit in circuits:
        circuit.close()


def exact(opened, *sizes):
    return opened(*sizes, resistor_mismatch=0.0, offset=0.0, seed=0)


@needs_ngspice
def test_what_is_linear_settles_as_kirchhoff_says(opened):
    """A pair that carries all its current on one side leaves resistors and sources alone."""
    device = exact(opened, 1, 1, 1)
    weights = device.read()
    wanted = {"inputs to hidden": 1.0, "hidden to output": 1.5, "bias of output": -0.75}
    device.write({name: value - weights[name] for name, value in wanted.items()})
    # At the node of the output meet two pairs of resistors; F is 1.05 times the largest weight.
    pair = 2e-5 / 2
    up, down = (pair / 2 * (1 + sign * 1.5 / 3.15) for sign in (1, -1))
    bias_up, bias_down = (pair / 2 * (1 + sign * -0.75 / 3.15) for sign in (1, -1))
    unit = 2.0 / (3.15 * 2)
    for control in (0.0, 1.0):
        # Unknown are the collectors of the two sides and the output. 1 of 201 parts of the tail
        # current is the base's.
        matrix = [
            [1 / 20e3 + up, 0, -up],
            [0, 1 / 20e3 + down, -down],
            [-up, -down, 2 * pair],
        ]
        amperes = [
            5 / 20e3,
            5 / 20e3 - 0.2e-3 * 200 / 201,
            bias_up * 5.0 + bias_down * 1.0 + control * unit * 2 * pair,
        ]
        high, low, output = np.linalg.solve(matrix, amperes)
        measured = device.settle(np.full((1, 1), 20.0), np.asarray([[0.0, control]]))
        np.testing.assert_allclose(measured.state[0, 0], (high - low) / 4, atol=1e-3)
        np.testing.assert_allclose(measured.output[0, 0], (output - 3.0) / unit, atol=1e-2)


@needs_ngspice
def test_control_moves_a_neuron_along_a_hyperbolic_tangent(opened):
    device = exact(opened, 2, 2, 1)
    device.write({name: -weight for name, weight in device.read().items()})
    control = np.linspace(-2, 2, 9)[:, None] * [1.0, 0.0, 0.0]
    state = device.settle(np.zeros((9, 2)), control).state
    assert np.all(np.diff(state[:, 0]) > 0)
    # The current of the base and the resistors at the collectors take a little of both factors.
    curve = state[:, 0] / state[-1, 0] * np.tanh(2)
    np.testing.assert_allclose(curve, np.tanh(control[:, 0]), atol=0.02)
    assert 0.85 < state[-1, 0] / np.tanh(2) < 1.0
    np.testing.assert_allclose(state[:, 1], 0.0, atol=1e-3)
    # Control beyond the limit that the device tells is that at the limit.
    limit = device.describe().control_limit
    beyond = device.settle(np.zeros((2, 2)), np.asarray([[0, 0, limit], [0, 0, 9 * limit]]))
    np.testing.assert_allclose(beyond.output[1], beyond.output[0], atol=1e-4)


@needs_ngspice
def test_parts_belong_to_the_seed_and_are_not_told(opened):
    inputs, control = np.full((1, 3), 0.5), np.zeros((1, 5))

    def output(seed, **mismatch):
        device = opened(3, 3, 2, seed=seed, **mismatch)
        device.write({name: 0.1 - weight for name, weight in device.read().items()})
        return device.settle(inputs, control).output, device.read()

    first, weights = output(0)
    again, _ = output(0)
    other, readings = output(1)
    ideal, _ = output(0, resistor_mismatch=0.0, offset=0.0)
    np.testing.assert_allclose(again, first, atol=1e-4)
    assert np.abs(other - first).max() > 0.05 < np.abs(ideal - first).max()
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, readings[name])


@needs_ngspice
def test_resistors_are_written_in_steps_within_their_limits(opened):
    device = exact(opened, 2, 1, 2)
    for connection in device.describe().connections:
        name, step = connection.name, connection.step
        before = device.read()[name]
        device.write({name: np.full(before.shape, 2.4 * step)})
        np.testing.assert_allclose(device.read()[name] - before, 2 * step, atol=1e-12)
        for sign in (1, -1):
            device.write({name: np.full(before.shape, sign * 99.0)})
            np.testing.assert_allclose(device.read()[name], sign * connection.limit)
    # What is measured changes as what is read.
    device.write({"bias of output": np.asarray([[6.0], [0.0]])})
    output = device.settle(np.zeros((1, 2)), np.zeros((1, 3))).output[0]
    assert output[0] - output[1] > 5.0


@needs_ngspice
def test_a_transient_with_noise_is_averaged(opened):
    """A linear output without pairs at work: the noise of a node is filtered by its capacitor."""
    quiet = exact(opened, 1, 1, 1)
    # Pairs that carry all their current on one side, so that their noise does not reach the output.
    inputs, control, noise = np.full((60, 1), 20.0), np.zeros((60, 2)), 0.2
    noisy = opened(1, 1, 1, resistor_mismatch=0.0, offset=0.0, noise=noise, seed=0)
    rest = quiet.settle(inputs[:1], control[:1]).output[0, 0]
    output = noisy.settle(inputs, control).output[:, 0]
    # A mean over T of noise with a time constant τ has σ² · 2τ/T · (1 − τ/T (1 − exp(−T/τ))). The
    # collectors' 20 kΩ are in series with resistors of 200 kΩ on the average, which makes τ longer.
    expected = noise * np.sqrt(0.2 * (1 - 0.1))
    assert 0.75 < output.std(ddof=1) / expected < 1.35
    assert abs(output.mean() - rest) < 4 * expected / np.sqrt(60)
    # The noise of another settle is another, and without noise two settles agree.
    again = noisy.settle(inputs[:1], control[:1]).output[0, 0]
    assert again != output[0]
    first, second = (quiet.settle(inputs[:1], control[:1]).output for _ in range(2))
    np.testing.assert_allclose(first, second, atol=1e-9)


@needs_ngspice
def test_what_is_read_under_noise_is_near_the_operating_point(opened):
    quiet, noisy = (opened(3, 4, 2, noise=noise, seed=1) for noise in (0.0, 0.01))
    random = np.random.default_rng(0)
    inputs, control = random.uniform(-1, 1, (6, 3)), random.uniform(-1, 1, (6, 6))
    inputs[2, 0] = np.nan
    for each in (quiet, noisy):
        each.write({"hidden to output": 0.5 - each.read()["hidden to output"]})
    expected, measured = (each.settle(inputs, control) for each in (quiet, noisy))
    assert np.isnan(measured.output[2]).all()
    finite = np.arange(6) != 2
    np.testing.assert_allclose(measured.state[finite], expected.state[finite], atol=0.06)
    assert np.abs(measured.state[finite] - expected.state[finite]).max() > 1e-4


@needs_ngspice
def test_a_sample_without_an_operating_point_is_nan(opened):
    device = exact(opened, 1, 1, 1)
    inputs = np.asarray([[0.3], [np.nan], [1e100], [0.3]])
    output = device.settle(inputs, np.zeros((4, 2))).output[:, 0]
    assert np.isnan(output).tolist() == [False, True, True, False]
    np.testing.assert_allclose(output[3], output[0], atol=1e-4)


@needs_ngspice
def test_the_end_of_ngspice_is_told_in_a_sentence(opened):
    device = exact(opened, 1, 1, 1)
    device._ngspice.process.kill()
    with pytest.raises(devices.DeviceError, match="ngspice ended, or did not answer"):
        device.settle(np.zeros((1, 1)), np.zeros((1, 2)))
    with pytest.raises(devices.DeviceError, match="ngspice ended, or did not answer"):
        device.write({"bias of output": np.ones((1, 1))})


@needs_ngspice
def test_an_answer_that_does_not_come_is_given_up(opened, monkeypatch):
    device = exact(opened, 1, 1, 1)
    monkeypatch.setattr("leastcontrol.devices._ngspice.SECONDS", 0.3)
    device._ngspice.process.send_signal(signal.SIGSTOP)
    with pytest.raises(devices.DeviceError, match=r"did not answer in 0\.3 s"):
        device.settle(np.zeros((1, 1)), np.zeros((1, 2)))


def test_a_machine_without_ngspice_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(devices.DeviceError, match="apt-get install ngspice"):
        SpiceDevice(1, 1, 1, seed=0)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((0, 1, 1), {}),
        ((1, 1, 1), {"offset": -1.0}),
        ((1, 1, 1), {"resistor_mismatch": np.nan}),
        ((1, 1, 1), {"noise": -0.1}),
    ],
)
def test_a_circuit_that_cannot_be_built_is_refused(sizes, options):
    with pytest.raises(ValueError, match="write SpiceDevice"):
        SpiceDevice(*sizes, seed=0, **options)


@needs_ngspice
def test_a_circuit_learns_without_any_derivative(opened, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("A derivative was asked for.")

    for function in ("grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "linearize"):
        monkeypatch.setattr(jax, function, refuse)
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    inputs = np.eye(4)[labels] * 2 + 0.2 * random.standard_normal((30, 4))
    device = opened(4, 4, 3, seed=0)
    training = devices.DeviceTraining(epochs=3, batch_size=5, learning_rate=0.1)
    learner = devices.DeviceLearner(
        device, devices.LeastControlRule(), training, inputs, labels, seed=0
    )
    trained = devices.TrainedDevice.untrained(device)
    untrained = devices.classified(devices.settle_all(device, inputs).output, labels).accuracy
    for _ in range(training.epochs):
        trained = learner.epoch(trained, inputs, labels)
    assert untrained < 0.7 < 0.95 < trained.metrics[-1].validation.accuracy
    assert trained.metrics[-1].loss < 0.5 * trained.metrics[0].loss
    assert trained.metrics[-1].write_error < 1e-12
    assert trained.metrics[-1].faults == ()
