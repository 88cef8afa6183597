"""Spiking neurons of Nengo behind the protocol: rates against the formula, and that they learn.

Nengo 4.1 brings a plugin that pytest 9 refuses, so that it is no dependency of the tests. Where it
is installed: `pytest -p no:nengo tests/examples/test_spiking_device.py`.
"""

import math
from importlib.util import find_spec

import numpy as np
import pytest
from spiking_device.spiking import SpikingDevice

from leastcontrol import devices

pytestmark = [
    pytest.mark.skipif(find_spec("nengo") is None, reason="there is no Nengo: pip install nengo"),
    # Of Nengo with NumPy 2.
    pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning"),
]


def test_rates_are_those_of_leaky_integrate_and_fire_neurons():
    """1 / (τ_ref + τ_rc log(1 + 1 / (J − 1))), with τ_rc = 20 ms and τ_ref = 2 ms."""
    device = SpikingDevice(2, 3, 2, mismatch=0.0, seed=0)
    device.write({name: -weight for name, weight in device.read().items()})
    control = np.zeros((1, 5))
    control[0, :3] = -0.5, 0.5, 2.0
    state = device.settle(np.zeros((1, 2)), control).state[0]
    rates = [1 / (0.002 + 0.02 * math.log(1 + 1 / excess)) for excess in (0.5, 2.0)]
    assert state[0] == 0
    # One spike in a tenth of a second more or less.
    np.testing.assert_allclose(100 * state[1:3], rates, atol=10)


def test_weights_drive_and_potentials_are_drawn_anew():
    device = SpikingDevice(2, 2, 1, mismatch=0.5, seed=0)
    weights = device.read()
    wanted = {"in": np.asarray([[2.0, 0.0], [0.0, 0.0]]), "bias": np.full((2, 1), -0.5)}
    wanted["out"] = np.asarray([[3.0, 0.0]])
    device.write({name: wanted[name] - weight for name, weight in weights.items()})
    control = np.zeros((50, 3))
    first = device.settle(np.tile([1.0, 0.0], (50, 1)), control)
    assert (first.state[:, 0] > 0).all()
    assert not first.state[:, 1].any()
    assert (first.output > 0).all()
    assert len(np.unique(first.output)) > 1
    # Copies of the network do not see each other.
    silent = np.tile([1.0, 0.0], (50, 1)) * (np.arange(50) < 25)[:, None]
    second = device.settle(silent, control)
    assert not second.state[25:, 0].any()


def test_spiking_neurons_learn():
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    inputs = np.eye(4)[labels] + 0.1 * random.standard_normal((30, 4))
    device = SpikingDevice(4, 6, 3, mismatch=0.5, seed=0)
    training = devices.DeviceTraining(epochs=8, batch_size=10, learning_rate=0.05)
    learner = devices.DeviceLearner(
        device, devices.LeastControlRule(), training, inputs, labels, seed=0
    )
    trained = devices.TrainedDevice.untrained(device)
    for _ in range(training.epochs):
        trained = learner.epoch(trained, inputs, labels)
    assert trained.metrics[-1].validation.accuracy > 0.9
    assert trained.metrics[-1].loss < 0.6 * trained.metrics[0].loss
