"""Feedback weights of a device, against responses that are known."""

import dataclasses

import numpy as np
import pytest

from leastcontrol import devices
from leastcontrol.devices import Difficulties, SimulatedDevice

DESCRIPTION = SimulatedDevice(4, (5,), 3, Difficulties(), seed=0).describe()


def known(output, gains, variance=1e-12):
    """Makes responses whose mean is that of lines that move their own neurons by so much."""
    responses = devices.Responses.unknown(8, 3)
    mean = np.concatenate([np.diag(gains), output])
    return dataclasses.replace(
        responses, mean=mean, covariance=1e-6 * np.eye(8), variance=np.full(11, variance)
    )


def test_balanced_feedback_is_that_of_lines_of_equal_gains():
    random = np.random.default_rng(0)
    equal = random.standard_normal((3, 8))
    # Signs, too: a line that acts backwards has to be driven backwards.
    gains = np.exp(2 * random.standard_normal(8)) * np.asarray([1, -1] * 4)
    responses = known(equal * gains, gains)
    weights = devices.BalancedFeedback().weights(DESCRIPTION, responses)
    expected = equal.T * np.sign(gains)[:, None]
    np.testing.assert_allclose(weights / weights[0, 0], expected / expected[0, 0], rtol=1e-4)
    # The output answers to u with a mean gain of 1.
    np.testing.assert_allclose(np.trace(responses.output @ weights), 3)
    learned = devices.LearnedFeedback().weights(DESCRIPTION, responses)
    np.testing.assert_allclose(learned / learned[0, 0], (equal * gains).T / (equal * gains)[0, 0])


def test_a_line_of_which_nothing_is_known_has_no_balanced_feedback():
    responses = known(np.ones((3, 8)), np.asarray([1e-3, *[1.0] * 7]), variance=1.0)
    # Its deviation is a thousand times what it was measured to do.
    responses = dataclasses.replace(
        responses, covariance=np.diag([1.0, *[1e-9] * 7]), variance=np.ones(11)
    )
    weights = devices.BalancedFeedback().weights(DESCRIPTION, responses)
    assert np.all(np.abs(weights[0]) < 2e-3 * np.abs(weights[1]))
    nothing = devices.Responses.unknown(8, 3)
    np.testing.assert_array_equal(devices.BalancedFeedback().weights(DESCRIPTION, nothing), 0.0)


@pytest.mark.slow
def test_balanced_feedback_is_measured_on_a_device_of_unequal_lines():
    device = SimulatedDevice(4, (5,), 3, Difficulties(mismatch=1.0), seed=0)
    inputs = 0.2 * np.random.default_rng(0).standard_normal((40, 4))
    random, responses = np.random.default_rng(0), devices.Responses.unknown(8, 3)
    for _ in range(60):
        push = 1e-3 * random.choice([-1.0, 1.0], size=(40, 8))
        plus, minus = device.settle(inputs, push), device.settle(inputs, -push)
        responses = responses.updated(push, plus, minus, 1e-9)
    weights = devices.BalancedFeedback().weights(DESCRIPTION, responses)
    # The response of the output to an activity is the weight between, as it acts.
    effective = device._weights["hidden 1 to output"] * device._factors["hidden 1 to output"]
    sent, expected = weights[:5].ravel(), effective.T.ravel()
    assert sent @ expected / np.linalg.norm(sent) / np.linalg.norm(expected) > 0.95
