"""The baselines: each against its definition, or against the rule that it is a limit of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BATCH,
    KEY,
    SIZE,
    credit,
    feedforward,
    flat,
    inputs,
    labels,
    recurrent,
    vectors,
)

import leastcontrol as lc

TIGHT = lc.Tolerance(1e-12)
MIXED = lc.FixedPoint(max_steps=500, memory=4)
SQUARED = lc.SquaredError()
ALIGNMENT = lc.FeedbackAlignment(SQUARED, TIGHT)
DIRECT = lc.DirectFeedbackAlignment(SQUARED, TIGHT)
BACK = lc.Backpropagation(SQUARED)
INVERSION = lc.DynamicInversion(TIGHT, MIXED)

with_feedback = eqx.filter_jit(lambda rule, system, feedback, batch: rule(system, feedback, batch))


def batch():
    return lc.Batch(inputs(), vectors())


def close(computed, expected, accuracy=1e-9):
    computed, expected = flat(computed), flat(expected)
    assert np.linalg.norm(computed - expected) <= accuracy * np.linalg.norm(expected)


def forward(system):
    """Returns a feedforward network's inputs to each layer, its slopes and its output's error."""
    x, targets = map(np.asarray, batch()[:2])
    weights = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in system.layers]
    active, slopes = [x], []
    for weight, bias in weights[:-1]:
        active.append(np.tanh(active[-1] @ weight.T + bias))
        slopes.append(1 - active[-1] ** 2)
    return active, slopes, active[-1] @ weights[-1][0].T + weights[-1][1] - targets


def check_layers(gradient, signals, active):
    for layer, post, pre in zip(gradient.layers, signals, active, strict=True):
        np.testing.assert_allclose(layer.weight, post.T @ pre / BATCH, atol=1e-12)
        np.testing.assert_allclose(layer.bias, post.mean(axis=0), atol=1e-12)


# --- random feedback


def test_alignment_is_backpropagation_with_other_weights_on_the_way_back():
    system = feedforward()
    feedback = ALIGNMENT.init(system, key=KEY)
    result = with_feedback(ALIGNMENT, system, feedback, batch())
    active, slopes, error = forward(system)
    s2, s3 = (np.asarray(layer.weight) for layer in feedback.layers[1:])
    far = slopes[1] * (error @ s3)
    near = slopes[0] * (far @ s2)
    check_layers(result.gradient, (near, far, error), active)
    assert result.feedback_gradient is None
    assert lc.solved(result.solution).all()
    np.testing.assert_allclose(result.loss, 0.5 * np.mean(np.sum(error**2, axis=1)), rtol=1e-12)


def test_alignment_with_the_systems_weights_is_backpropagation():
    system = feedforward()
    weights = eqx.filter(system, system.feedback_parameters())
    close(
        with_feedback(ALIGNMENT, system, weights, batch()).gradient,
        credit(BACK, system, batch()).gradient,
    )


def test_alignment_with_a_recurrent_systems_weights_is_recurrent_backpropagation():
    system = recurrent()
    weights = eqx.filter(system, system.feedback_parameters())
    expected = credit(lc.RecurrentBackpropagation(SQUARED, TIGHT), system, batch())
    close(with_feedback(ALIGNMENT, system, weights, batch()).gradient, expected.gradient)


def test_direct_alignment_sends_the_error_to_every_layer_with_the_slope():
    system = feedforward()
    feedback = DIRECT.init(system, key=KEY)
    result = with_feedback(DIRECT, system, feedback, batch())
    active, slopes, error = forward(system)
    signals = [slope * (error @ np.asarray(q).T) for slope, q in zip(slopes, feedback, strict=True)]
    check_layers(result.gradient, (*signals, error), active)
    assert result.feedback_gradient is None


@pytest.mark.parametrize("rule", [ALIGNMENT, DIRECT], ids=["alignment", "direct"])
def test_feedback_that_is_not_the_systems_is_refused(rule):
    system = feedforward()
    with pytest.raises(ValueError, match="no feedback weights"):
        rule(system, None, batch())
    with pytest.raises(ValueError, match="but the system needs"):
        rule(system, rule.init(recurrent(), key=KEY), batch())


# --- equilibrium propagation


@pytest.mark.parametrize(
    ("centred", "order"), [pytest.param(False, 1, marks=pytest.mark.slow), (True, 2)]
)
@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (feedforward, SQUARED),
        pytest.param(feedforward, lc.CrossEntropy(), marks=pytest.mark.slow),
    ],
)
def test_propagation_tends_to_backpropagation(make, loss, centred, order):
    system = make()
    samples = batch() if loss is SQUARED else lc.Batch(inputs(), labels())
    expected = flat(credit(lc.Backpropagation(loss), system, samples).gradient)
    errors, strengths = [], (0.1, 0.01)
    for strength in strengths:
        rule = lc.EquilibriumPropagation(INVERSION, strength, centred=centred, loss=loss)
        result = credit(rule, system, samples)
        assert lc.solved(result.solution).all()
        errors.append(np.linalg.norm(flat(result.gradient) - expected) / np.linalg.norm(expected))
    slope = np.log(errors[0] / errors[1]) / np.log(strengths[0] / strengths[1])
    assert abs(slope - order) < 0.15
    assert errors[1] < 0.05


def test_one_sided_propagation_is_least_control_over_the_strength():
    system, strength = recurrent(), 0.7
    rule = lc.EquilibriumPropagation(INVERSION, strength, centred=False, loss=SQUARED)
    least = lc.LeastControl(INVERSION, 1 / strength, loss=SQUARED)
    propagated, expected = (credit(each, system, batch()) for each in (rule, least))
    close(strength * flat(propagated.gradient), flat(expected.gradient))
    np.testing.assert_allclose(strength * propagated.objective, expected.objective, rtol=1e-9)
    assert np.isfinite(flat(propagated.gradient)).all()


@pytest.mark.slow
def test_the_objective_of_centred_propagation_tends_to_the_loss():
    system = feedforward()
    loss = credit(BACK, system, batch()).loss
    rule = lc.EquilibriumPropagation(INVERSION, 1e-3, loss=SQUARED)
    np.testing.assert_allclose(credit(rule, system, batch()).objective, loss, rtol=1e-4)


def test_a_nudge_too_strong_to_push_away_leaves_samples_unsolved():
    # ½‖u‖² − β½‖y − t‖² is stationary, but has no minimum, for a β of 1 or more.
    rule = lc.EquilibriumPropagation(INVERSION, 2.0, loss=SQUARED)
    result = credit(rule, feedforward(), batch())
    assert not lc.solved(result.solution).any()
    assert np.all(flat(result.gradient) == 0)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"`strength` is .*write EquilibriumPropagation"):
        lc.EquilibriumPropagation(INVERSION, strength)


# --- predictive coding


def test_predictive_coding_is_least_control_with_the_output_clamped():
    """The inference and the updates of predictive coding in NumPy, node by node."""
    system = feedforward()
    x, targets = map(np.asarray, batch()[:2])
    (w1, b1), (w2, b2), (w3, b3) = [
        (np.asarray(layer.weight), np.asarray(layer.bias)) for layer in system.layers
    ]
    first, second = np.zeros((BATCH, 4)), np.zeros((BATCH, SIZE))
    for _ in range(4000):
        e1 = first - x @ w1.T - b1
        e2 = second - np.tanh(first) @ w2.T - b2
        e3 = targets - np.tanh(second) @ w3.T - b3
        first = first - 0.1 * (e1 - (1 - np.tanh(first) ** 2) * (e2 @ w2))
        second = second - 0.1 * (e2 - (1 - np.tanh(second) ** 2) * (e3 @ w3))
    rule = lc.predictive_coding(controller=lc.Energy(lc.Tolerance(1e-10)))
    result = credit(rule, system, batch())
    assert lc.solved(result.solution).all()
    active = (x, np.tanh(first), np.tanh(second))
    for layer, error, pre in zip(result.gradient.layers, (e1, e2, e3), active, strict=True):
        np.testing.assert_allclose(layer.weight, -error.T @ pre / BATCH, atol=1e-8)
        np.testing.assert_allclose(layer.bias, -error.mean(axis=0), atol=1e-8)
    energy = 0.5 * np.mean(sum(np.sum(e**2, axis=1) for e in (e1, e2, e3)))
    np.testing.assert_allclose(result.objective, energy, rtol=1e-8)


def test_predictive_coding_is_not_a_rule_of_its_own():
    assert eqx.tree_equal(
        lc.predictive_coding(0.5), lc.LeastControl(lc.Energy(), 0.5, loss=SQUARED)
    )
    assert jax.tree.structure(lc.predictive_coding()) == jax.tree.structure(
        lc.LeastControl(lc.Energy(), 0.0, loss=SQUARED)
    )
    assert isinstance(lc.predictive_coding(1.0, loss=lc.CrossEntropy()).loss, lc.CrossEntropy)
    assert jnp.isfinite(lc.predictive_coding().output_control.leak)
