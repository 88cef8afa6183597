"""What is said of a device after a training, against what it was made of."""

import dataclasses
import re

import numpy as np

from leastcontrol import devices
from leastcontrol.devices import Difficulties, SimulatedDevice

INPUTS = np.random.default_rng(0).standard_normal((200, 4))


def measured(device, size=0.02, steps=40):
    """Learns the responses of a device from perturbations."""
    description = device.describe()
    random = np.random.default_rng(1)
    responses = devices.Responses.unknown(description.neurons, description.outputs)
    for _ in range(steps):
        push = size * random.choice([-1.0, 1.0], size=(len(INPUTS), description.neurons))
        plus, minus = device.settle(INPUTS, push), device.settle(INPUTS, -push)
        responses = responses.updated(push, plus, minus, 1e-8)
    return responses


def expected(device):
    description = device.describe()
    state = devices.free_states(device, INPUTS)
    twin = devices.NetworkTwin(description)
    return devices.mean_response(twin, description, device.read(), state)


def test_a_device_that_is_as_described_has_no_mismatch():
    device = SimulatedDevice(4, (6, 5), 3, Difficulties(), seed=0)
    mismatch = devices.mismatch(device.describe(), measured(device), expected(device))
    assert mismatch is not None
    assert max(mismatch.response, mismatch.lines) < 0.01
    assert mismatch.angle < 0.5


def test_the_mismatch_of_lines_is_found():
    """Slopes and gains are off by exp(mξ) each, so that a line is by a deviation of √2 m."""
    device = SimulatedDevice(4, (60,), 3, Difficulties(mismatch=0.3), seed=0)
    mismatch = devices.mismatch(device.describe(), measured(device), expected(device))
    assert mismatch is not None
    np.testing.assert_allclose(mismatch.lines, np.sqrt(2) * 0.3, rtol=0.25)
    assert mismatch.response > 0.3
    assert mismatch.angle > 10


def test_alignment_is_that_of_the_hidden_neurons():
    description = SimulatedDevice(4, (6,), 2, Difficulties(), seed=0).describe()
    random = np.random.default_rng(0)
    response = random.standard_normal((2, 8))
    feedback = response.T @ np.asarray([[0.0, -1.0], [1.0, 0.0]])
    turned = devices.alignment(description, feedback, response)
    assert turned is not None
    # It lies in the row space, wherever it points to in it.
    np.testing.assert_allclose(turned.column_space, 1.0)
    # A column of one output points to where the other's should.
    np.testing.assert_allclose(turned.angle, 90.0)
    same = devices.alignment(description, 3 * response.T, response)
    assert same is not None
    assert same.angle < 1e-5
    outside = feedback.copy()
    basis = np.linalg.qr(response.T[:6])[0]
    outside[:6] = (np.eye(6) - basis @ basis.T) @ random.standard_normal((6, 2))
    away = devices.alignment(description, outside, response)
    assert away is not None
    assert away.column_space < 1e-9
    assert devices.alignment(description, 0 * feedback, response) is None


def test_limits_are_named():
    device = SimulatedDevice(4, (6,), 3, Difficulties(weight_limit=0.1), seed=0)
    training = devices.DeviceTraining(epochs=1, batch_size=100, learning_rate=0.3)
    learner = devices.DeviceLearner(
        device, devices.LeastControlRule(), training, INPUTS, np.arange(200) % 3, seed=0
    )
    trained = learner.epoch(devices.TrainedDevice.untrained(device), INPUTS, np.arange(200) % 3)
    description, metrics = device.describe(), trained.metrics[-1]
    assert any(
        "at their limit" in each for each in devices.limits(description, metrics, device.read())
    )
    calm = dataclasses.replace(
        metrics,
        results={name: 100 * (name == "settled") for name in devices.RESULTS},
        write_error=0.0,
    )
    zero = {name: 0 * weight for name, weight in device.read().items()}
    assert devices.limits(description, calm, zero) == ()
    for change, word in (
        ({"results": {**calm.results, "noise-limited": 20}}, "Noise changes"),
        ({"results": {**calm.results, "drifting": 20}}, "drift between"),
        ({"results": {**calm.results, "failed": 20}}, "could not be measured"),
        ({"saturated_fraction": 0.5}, "control line"),
        ({"write_error": 0.2}, "what was written"),
    ):
        (sentence,) = devices.limits(description, dataclasses.replace(calm, **change), zero)
        assert word in sentence
        # A number and its unit stand apart, as everywhere.
        assert re.search(r"\d %", sentence)
