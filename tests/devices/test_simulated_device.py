"""The simulated device: its equations, its difficulties and its memory."""

import numpy as np
from small_devices import device_of, samples


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
