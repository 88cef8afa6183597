"""Small simulated devices for tests, what they learn, and devices with a fault."""

import numpy as np

from leastcontrol import devices
from leastcontrol.devices import Difficulties, SimulatedDevice

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
