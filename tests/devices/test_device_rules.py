"""The rules of a device against finite differences, and against what they say of themselves."""

import jax
import numpy as np
import pytest
from small_devices import samples

from leastcontrol import devices
from leastcontrol.devices import Difficulties, SimulatedDevice

HIDDEN = (5, 4)
RULES = {
    "least control": lambda device: devices.LeastControlRule(),
    "from a twin": lambda device: devices.LeastControlRule(twin=device.twin(0.0)),
    "two phases": lambda device: devices.TwoPhaseRule(drive=devices.Proportional(1.0)),
    "physics-aware": lambda device: devices.PhysicsAwareRule(device.twin(0.0)),
    "node perturbation": lambda device: devices.NodePerturbationRule(),
    "weight perturbation": lambda device: devices.WeightPerturbationRule(0.05),
    "SPSA": lambda device: devices.SimultaneousPerturbationRule(0.05),
}


def device_of(**difficulties):
    return SimulatedDevice(4, HIDDEN, 3, Difficulties(**difficulties), seed=0)


def batch_of(count=6):
    inputs, labels = samples(count)
    return devices.DeviceBatch(inputs, np.eye(3)[labels])


class Noted(devices.AbstractDevice):
    """A device that keeps what it was asked for."""

    def __init__(self, device):
        self.device, self.settled, self.written = device, [], []

    def describe(self):
        return self.device.describe()

    def settle(self, inputs, control):
        measured = self.device.settle(inputs, control)
        self.settled.append((control, measured))
        return measured

    def read(self):
        return self.device.read()

    def write(self, changes):
        self.written.append(changes)
        self.device.write(changes)


def step_of(rule, device, batch, seed=0):
    """Makes one step of a rule; returns what it found and what the device was asked for."""
    noted = Noted(device)
    bench = devices.Bench(noted, devices.Watch(device.describe()))
    unknown = devices.Responses.unknown(bench.description.neurons, bench.description.outputs)
    random = np.random.default_rng(seed)
    return rule.step(bench, device.read(), unknown, batch, random), noted


def loss_of(device, batch):
    free = device.settle(batch.inputs, np.zeros((len(batch.inputs), device.describe().neurons)))
    exponentials = np.exp(free.output)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return -np.mean(np.sum(batch.targets * np.log(probabilities), axis=1))


def slopes_of(device, batch):
    """Computes the gradient of the loss with respect to every weight by finite differences."""
    slopes = {}
    for name, weight in device.read().items():
        slopes[name] = np.zeros_like(weight)
        for place in np.ndindex(weight.shape):
            change = np.zeros_like(weight)
            change[place] = 1e-4
            device.write({name: change})
            upper = loss_of(device, batch)
            device.write({name: -2 * change})
            slopes[name][place] = (upper - loss_of(device, batch)) / 2e-4
            device.write({name: change})
    return slopes


def test_an_exact_twin_gives_the_gradient_of_the_device():
    device, batch = device_of(mismatch=0.5, dead_units=1), batch_of()
    slopes = slopes_of(device, batch)
    step, noted = step_of(devices.PhysicsAwareRule(device.twin(1.0)), device, batch)
    for name, slope in slopes.items():
        np.testing.assert_allclose(step.direction[name], -slope, atol=1e-7)
    assert len(noted.settled) == 1
    assert not noted.settled[0][0].any()
    # What knows nothing of the mismatch is off.
    poor, _ = step_of(devices.PhysicsAwareRule(device.twin(0.0)), device, batch)
    errors = [np.abs(poor.direction[name] + slope).max() for name, slope in slopes.items()]
    assert max(errors) > 0.01


def test_responses_start_from_those_of_a_twin():
    device, batch = device_of(mismatch=0.5), batch_of()
    bench = devices.Bench(device, devices.Watch(device.describe()))
    rule = devices.LeastControlRule(twin=device.twin(1.0))
    first = rule.first_responses(bench, device.read(), batch.inputs)
    np.testing.assert_allclose(first.output, device.true_response(batch.inputs), atol=1e-12)
    np.testing.assert_allclose(first.state[-3:], first.output, atol=1e-12)
    assert bench.settles == 1
    unknown = devices.LeastControlRule().first_responses(bench, device.read(), batch.inputs)
    assert not unknown.mean.any()
    # A twin is believed: measurements move what is known less than what is not.
    assert np.diag(first.covariance).max() < 0.1 * np.diag(unknown.covariance).min()


def test_perturbed_weights_learn_from_the_slope_along_the_perturbation():
    for rule in (
        devices.SimultaneousPerturbationRule(1e-4),
        devices.WeightPerturbationRule(1e-5),
    ):
        device, batch = device_of(mismatch=0.5), batch_of()
        before, slopes = device.read(), slopes_of(device, batch)
        step, noted = step_of(rule, device, batch)
        along = {name: change / rule.perturbation for name, change in noted.written[0].items()}
        slope = sum(np.sum(along[name] * slopes[name]) for name in slopes)
        for name, part in along.items():
            np.testing.assert_allclose(step.direction[name], -slope * part, rtol=2e-2, atol=1e-6)
            np.testing.assert_allclose(device.read()[name], before[name], atol=1e-12)


def test_perturbed_nodes_learn_from_the_loss_of_every_sample():
    """Over all signs of the lines, the mean is the gradient."""
    device, batch = device_of(), batch_of(3)
    slopes = slopes_of(device, batch)
    rule = devices.NodePerturbationRule(1e-3)
    many = devices.DeviceBatch(*(np.repeat(part, 4000, axis=0) for part in batch))
    step, _ = step_of(rule, device, many)
    for name, slope in slopes.items():
        np.testing.assert_allclose(step.direction[name], -slope, atol=0.05)
    largest = max(np.abs(slope).max() for slope in slopes.values())
    assert largest > 0.3


def test_two_phases_learn_from_the_difference_that_was_measured():
    device, batch = device_of(mismatch=0.5), batch_of()
    rule = devices.TwoPhaseRule(drive=devices.Proportional(1.0))
    step, noted = step_of(rule, device, batch)
    *_, (none, free), (control, driven) = noted.settled
    assert not none.any()
    assert control.any()
    moved = driven.state - free.state
    np.testing.assert_allclose(step.direction["bias of output"][:, 0], moved[:, 9:].mean(axis=0))
    np.testing.assert_allclose(
        step.direction["hidden 1 to hidden 2"],
        np.einsum("bi,bj->ij", moved[:, 5:9], free.state[:, :5]) / len(moved),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_every_rule_lowers_the_loss_without_any_derivative(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("A derivative was asked for.")

    for function in ("grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "linearize"):
        monkeypatch.setattr(jax, function, refuse)
    device = device_of(mismatch=0.3, noise=0.02)
    rule, (inputs, labels) = RULES[name](device), samples()
    epochs = 30 if "weight" in name or name == "SPSA" else 6
    training = devices.DeviceTraining(epochs=epochs, batch_size=10, learning_rate=0.03)
    learner = devices.DeviceLearner(device, rule, training, inputs, labels, seed=1)
    trained = devices.TrainedDevice.untrained(device)
    for _ in range(epochs):
        trained = learner.epoch(trained, *samples(20, 1))
    first, *_, last = trained.metrics
    assert last.loss < 0.7 * first.loss
    assert trained.settles == epochs * 4 * rule.settles + (name == "from a twin")


def test_readings_that_are_not_finite_teach_nothing():
    class Broken(Noted):
        def settle(self, inputs, control):
            state, output = map(np.array, super().settle(inputs, control))
            state[0], output[0] = np.inf, np.nan
            return devices.Measurement(state, output)

    for make in RULES.values():
        device = device_of()
        step, _ = step_of(make(device), Broken(device), batch_of())
        assert all(np.isfinite(part).all() for part in step.direction.values())


def test_what_does_not_fit_is_refused_with_a_sentence():
    description = devices.Description(
        1,
        (devices.Population("hidden", 2), devices.Population("output", 1)),
        (devices.Connection("back", "output", "hidden"),),
    )
    with pytest.raises(devices.DeviceError, match="does not go forwards"):
        devices.NetworkTwin(description)
    with pytest.raises(ValueError, match="`perturbation` is 0"):
        devices.NodePerturbationRule(0.0)
    with pytest.raises(ValueError, match="`wandering` is -1"):
        devices.LeastControlRule(wandering=-1.0)
