"""Readings that are late: closed forms of a linear device, loops through it, and certificates."""

import numpy as np
import pytest

from leastcontrol import devices
from leastcontrol.devices import Difficulties, SimulatedDevice
from leastcontrol.runs.device_config import DeviceConfig
from leastcontrol.runs.options import ConfigError

STEP = 0.2


def linear(**difficulties):
    """Makes a device without hidden neurons: dv/dt = Wx + b + ψ − v, and y = v."""
    return SimulatedDevice(3, (), 2, Difficulties(**difficulties), seed=0)


def inputs_of(count=5):
    return np.random.default_rng(1).standard_normal((count, 3))


def rest(device, inputs, control):
    weights = device.read()
    return inputs @ weights["inputs to output"].T + control


def test_a_late_reading_comes_to_the_same_rest():
    inputs, control = inputs_of(), np.full((5, 2), 0.7)
    device = linear(settling_time=60.0, delay=3.0)
    measured = device.settle(inputs, control)
    np.testing.assert_allclose(measured.output, rest(device, inputs, control), atol=1e-9)
    np.testing.assert_array_equal(measured.state, measured.output)


def test_what_is_read_is_the_state_of_so_long_before():
    inputs, push = inputs_of(), np.full((5, 2), 0.7)
    device = linear(settling_time=2.0, delay=1.2)
    free, pushed = (rest(device, inputs, control) for control in (0 * push, push))

    def after(steps, start, end):
        """Euler's steps from a start to an end, of which (1 − h)ⁿ of the way is left."""
        return end + (1 - STEP) ** steps * (start - end)

    # 10 steps a settle, of which the last 6 are not read yet.
    np.testing.assert_allclose(device.settle(inputs, 0 * push).output, after(4, 0, free))
    # Of the next settle, which goes on, 4 steps under its control are read.
    then = after(4, after(10, 0, free), pushed)
    np.testing.assert_allclose(device.settle(inputs, push).output, then)
    # Other inputs find silent neurons.
    expected = after(4, 0, rest(device, inputs + 1, push))
    np.testing.assert_allclose(device.settle(inputs + 1, push).output, expected)


def integrated(device, inputs, gain, count):
    """Integrates the error of the output to a target on the host, a settle at a time."""
    target, u, errors = np.ones((len(inputs), 2)), np.zeros((len(inputs), 2)), []
    for _ in range(count):
        error = target - device.settle(inputs, u).output
        errors.append(np.linalg.norm(error))
        u = u + gain * error
    return errors


def test_a_loop_oscillates_where_readings_are_a_settle_late():
    """Of zⁿ, z = 1 − k without a delay, and z² − z + k = 0 a settle late: |z| = √k."""
    inputs = inputs_of()
    prompt = integrated(linear(settling_time=40.0), inputs, 1.5, 24)
    late = integrated(linear(settling_time=40.0, delay=40.0), inputs, 1.5, 24)
    np.testing.assert_allclose(prompt[-1] / prompt[0], 0.5**23, rtol=0.05)
    # For |z| > 1 it grows, and with complex z the error changes its sign.
    assert late[-1] > 20 * late[0]
    slow = integrated(linear(settling_time=40.0, delay=40.0), inputs, 0.25, 40)
    assert slow[-1] < 1e-6 * slow[0]


@pytest.mark.parametrize(("delay", "drifting"), [(1.0, 0), (39.0, 120), (45.0, 120)])
def test_a_delay_that_is_too_long_is_no_rest(delay, drifting):
    device = linear(settling_time=40.0, delay=delay, noise=0.01)
    # Far from 0, where the first reading of a sample is under way.
    first, second = devices.settle_twice(device, 3 * inputs_of(120))
    certificate, _ = devices.judge(first, second, np.zeros(120, bool))
    assert abs(certificate.counts["drifting"] - drifting) <= 0.05 * 120
    # What all samples have in common is no noise, of which there is 0.01 in voltages and readings.
    assert 0.005 < certificate.noise_floor < 0.02
    assert (certificate.drift > 10) == bool(drifting)


def test_two_settles_in_a_row_are_of_the_same_samples():
    """However many samples there are: the third part of them is settled twice, too."""
    device = linear(settling_time=40.0, delay=45.0)
    inputs = inputs_of(1100)
    _, second = devices.settle_twice(device, inputs)
    np.testing.assert_allclose(second.output, rest(device, inputs, 0.0), atol=1e-2)


def test_a_delay_needs_a_settling_time():
    with pytest.raises(ValueError, match=r"write Difficulties\(settling_time=20, delay=2\.0\)"):
        Difficulties(delay=2.0)
    with pytest.raises(ValueError, match="`delay` is -1"):
        Difficulties(delay=-1.0, settling_time=20.0)
    with pytest.raises(ConfigError, match="write --settling-time 20"):
        DeviceConfig.of(delay=2.0).check()
    DeviceConfig.of(delay=2.0, settling_time=20.0).check()
