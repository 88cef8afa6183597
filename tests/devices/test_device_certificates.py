"""What measurements are worth: results of samples, and faults that are named."""

import numpy as np
import pytest
from small_devices import Faulty, device_of, trained_on

from leastcontrol import devices
from leastcontrol.devices import Measurement


@pytest.mark.parametrize("samples", [2, 3, 7, 8, 40])
def test_noise_of_few_samples_is_not_taken_for_what_they_have_in_common(samples):
    rng = np.random.default_rng(3)
    means = []
    for _ in range(200):
        first, second = rng.normal(0, 0.01, (2, samples, 3)) + rng.normal(size=(samples, 3))
        means.append(np.mean(devices.noise_floors(first, second) ** 2))
    # What is common is fitted by at most two numbers.
    expected = 0.01 * np.sqrt((samples - 1) / samples)
    np.testing.assert_allclose(np.sqrt(np.mean(means)), expected, rtol=0.2)


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
