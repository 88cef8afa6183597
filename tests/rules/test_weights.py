"""Weights of samples: a weight of 2 is a sample that is there twice, and 0 one that is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    credit,
    feedforward,
    flat,
    function_system,
    inputs,
    labels,
    recurrent,
    soft,
    timescales,
    timescales_readout,
)

import leastcontrol as lc
from leastcontrol import feedback_control as fc

TIGHT = lc.Tolerance(1e-10)
SOFT = lc.CrossEntropy()
X, TARGETS = inputs(4), soft(labels(4), 0.1)
TWICE = jnp.asarray([2.0, 1.0, 0.0, 1.0])
REPEATED = lc.Batch(X[jnp.asarray([0, 0, 1, 3])], TARGETS[jnp.asarray([0, 0, 1, 3])])
CASES = {
    "backpropagation": (feedforward, lc.Backpropagation(SOFT)),
    "recurrent": (recurrent, lc.RecurrentBackpropagation(SOFT, TIGHT)),
    "least control": (recurrent, lc.LeastControl(lc.DynamicInversion(TIGHT), 2.0, loss=SOFT)),
    "propagation": (
        recurrent,
        lc.EquilibriumPropagation(lc.DynamicInversion(TIGHT), 0.1, loss=SOFT),
    ),
    "parts": (recurrent, lc.InParts(lc.RecurrentBackpropagation(SOFT, TIGHT), 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_weight_of_two_is_a_sample_that_is_there_twice(case):
    system_of, rule = CASES[case]
    system = system_of()
    # What a sample that is left out holds does not matter, even under RaiseError.
    broken = lc.Batch(X.at[2].set(jnp.nan), TARGETS.at[2].set(-1), weights=TWICE)
    repeated = credit(rule, system, REPEATED)
    weighted = credit(rule, system, broken)
    np.testing.assert_allclose(flat(weighted.gradient), flat(repeated.gradient), rtol=1e-7)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-9)
    np.testing.assert_allclose(weighted.loss, repeated.loss, rtol=1e-9)
    assert weighted.count == 4
    # Means do not depend on the unit of the weights.
    scaled = credit(rule, system, broken._replace(weights=0.01 * TWICE))
    np.testing.assert_allclose(flat(scaled.gradient), flat(weighted.gradient), rtol=1e-9)


def test_a_sample_that_is_masked_out_raises_no_error():
    rule = lc.LeastControl(lc.DynamicInversion(TIGHT), 2.0, loss=SOFT, unsolved=lc.RaiseError())
    held = jnp.asarray([True, True, False, True])
    batch = lc.Batch(X.at[2].set(jnp.nan), TARGETS.at[2].set(-1), weights=held)
    masked = credit(rule, recurrent(), batch)
    assert masked.count == 3
    assert jnp.isfinite(flat(masked.gradient)).all()
    with pytest.raises(Exception, match="equilibrium was not found"):
        credit(rule, recurrent(), batch._replace(weights=~held))
    nobody = credit(CASES["least control"][1], recurrent(), batch._replace(weights=0 * TWICE))
    assert jnp.isnan(nobody.objective)
    assert not flat(nobody.gradient).any()


PARAMS = function_system().params
ESTIMATE = jax.jit(
    lc.least_control(
        timescales,
        timescales_readout,
        SOFT,
        start={"fast": jnp.zeros(3), "slow": jnp.zeros(4)},
        leak=0.5,
        controller=lc.Exact(tolerance=lc.Tolerance(1e-11)),
    )
)


@pytest.mark.slow
def test_the_value_of_least_control_has_the_slope_of_finite_differences_in_all_arguments():
    at = (PARAMS, X, TARGETS, jnp.asarray([0.3, 1.7, 0.0, 2.5]))
    moved = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), at)
    moved = (*moved[:3], moved[3].at[2].set(0))
    value = lambda *args: ESTIMATE(*args)[0]  # noqa: E731
    slopes = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3)))(*at)
    step = 1e-5
    for index in range(4):

        def along(sign, index=index):
            shifted = jax.tree.map(lambda a, m: a + sign * step * m, at[index], moved[index])
            return value(*at[:index], shifted, *at[index + 1 :])

        expected = (along(1) - along(-1)) / (2 * step)
        slope = jnp.vdot(flat(slopes[index]), flat(moved[index]))
        np.testing.assert_allclose(slope, expected, rtol=1e-6, err_msg=str(index))
    _, gradient, _ = ESTIMATE(*at)
    np.testing.assert_allclose(flat(gradient), flat(slopes[0]), rtol=1e-10)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (jnp.ones(3), r"float64\[3\], but each of the 4 samples has one: give a floating-point"),
        (jnp.ones((4, 1)), r"float64\[4, 1\]"),
        (jnp.ones(4, int), r"int64\[4\]"),
        ([1.0] * 4, "The weights are list"),
        (jnp.asarray([1.0, -0.5, 1, 1]), "run from -0.5 to 1, but they are finite and at least 0"),
        (jnp.asarray([1.0, jnp.nan, 1, 1]), "finite and at least 0: give a weight of 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence(weights, sentence):
    rule, batch = CASES["backpropagation"][1], lc.Batch(X, TARGETS, weights=weights)
    with pytest.raises(ValueError, match=sentence) as error:
        rule(feedforward(), None, batch)
    assert "\n" not in str(error.value)


def test_what_cannot_weigh_its_samples_says_so():
    batch = lc.Batch(X, TARGETS, weights=TWICE)
    rule = fc.DeepFeedbackControl(fc.SteadyState(leak=0.1), fc.Nudged(0.1), SOFT)
    network = feedforward()
    with pytest.raises(ValueError, match="DeepFeedbackControl takes none, because"):
        rule(network, rule.init(network, key=jax.random.key(0)), batch)
