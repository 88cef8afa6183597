"""The value of `least_control` under `jax.grad`, against its gradient and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SIZE,
    function_system,
    inputs,
    labels,
    one_of,
    soft,
    timescales,
    timescales_readout,
)

import leastcontrol as lc

START = {"fast": jnp.zeros(3), "slow": jnp.zeros(4)}
PARAMS = function_system().params
ENCODER = 0.7 * jax.random.normal(jax.random.key(5), (SIZE, SIZE))
X = inputs(4)
TARGETS = soft(labels(4), 0.1)


def field(params, state, x):
    """As `timescales`, with an input in a pytree beside a mask and a count."""
    drive = x["drive"] + jnp.where(x["mask"], 0.1, -0.1) * x["count"]
    return timescales(params, state, drive)


def whole(x):
    return {"drive": x, "mask": jnp.arange(len(x)) % 2 == 0, "count": jnp.arange(len(x))}


def estimator(loss=None, start=START, **options):
    exact = lc.Exact(tolerance=lc.Tolerance(1e-11))
    return lc.least_control(
        field,
        timescales_readout,
        lc.CrossEntropy() if loss is None else loss,
        start=start,
        **{"controller": exact, "leak": 0.5, **options},
    )


ESTIMATE = estimator()


def value_of(params, encoder, targets, estimate=ESTIMATE):
    value, gradient, solution = estimate(params, whole(jnp.tanh(X @ encoder.T)), targets)
    return value, (gradient, solution)


def close(tree, expected, accuracy):
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=accuracy, atol=accuracy)  # noqa: E731
    jax.tree.map(compare, tree, expected)


def finite_differences(function, at, step=1e-5):
    moves = step * jnp.eye(at.size).reshape(at.size, *at.shape)
    up, down = (jax.lax.map(function, at[None] + sign * moves) for sign in (1, -1))
    return ((up - down) / (2 * step)).reshape(at.shape)


def test_the_gradient_of_the_value_is_the_gradient_that_is_returned():
    slopes, (gradient, solution) = jax.grad(value_of, has_aux=True)(PARAMS, ENCODER, TARGETS)
    assert lc.solved(solution).all()
    close(slopes, gradient, 1e-13)


@pytest.mark.slow
def test_an_encoder_before_it_and_targets_have_the_gradient_of_finite_differences():
    slope = jax.jit(jax.grad(value_of, argnums=(1, 2), has_aux=True))
    (of_encoder, of_targets), (_, solution) = slope(PARAMS, ENCODER, TARGETS)
    assert lc.solved(solution).all()
    value = jax.jit(lambda encoder: value_of(PARAMS, encoder, TARGETS)[0])
    np.testing.assert_allclose(of_encoder, finite_differences(value, ENCODER), rtol=1e-6)
    # ∂_tL/α = −log softmax(y)/α for the mean over four samples, along probabilities that sum to 1.
    states = solution.value
    read = jax.vmap(lambda state: timescales_readout(PARAMS, state))(states.state)
    slopes = -jax.nn.log_softmax(read + states.output_control) / 0.5 / 4
    centred = lambda rows: rows - jnp.mean(rows, axis=1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(centred(of_targets), centred(slopes), rtol=1e-10)


def test_in_x_it_is_the_control_sent_back_through_f():
    x = whole(X)
    _, _, solution = ESTIMATE(PARAMS, x, TARGETS)
    slope = eqx.filter_grad(lambda x: ESTIMATE(PARAMS, x, TARGETS)[0])(x)
    assert slope["mask"] is None
    assert slope["count"] is None
    point = solution.value
    for index in range(4):
        one = one_of((x, point.state, point.control), index)
        of_x = jax.jacobian(lambda d, one=one: field(PARAMS, one[1], {**one[0], "drive": d}))
        jacobian = of_x(one[0]["drive"])
        expected = -sum(one[2][name] @ jacobian[name] for name in ("fast", "slow")) / 4
        np.testing.assert_allclose(slope["drive"][index], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
def test_without_output_neurons_and_in_forward_mode_the_slope_is_the_same():
    estimate = estimator(output_neurons=False)
    moved = jax.random.normal(jax.random.key(6), ENCODER.shape)
    of = lambda encoder: value_of(PARAMS, encoder, TARGETS, estimate)[0]  # noqa: E731
    _, tangent = jax.jit(lambda e: jax.jvp(of, (e,), (moved,)))(ENCODER)
    step = 1e-5
    expected = (of(ENCODER + step * moved) - of(ENCODER - step * moved)) / (2 * step)
    np.testing.assert_allclose(tangent, expected, rtol=1e-6)


@pytest.mark.slow
def test_an_ensemble_of_params_is_mapped():
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), PARAMS)
    slope = jax.grad(lambda params: value_of(params, ENCODER, TARGETS)[0])
    mapped = jax.jit(jax.vmap(slope))(both)
    for index in range(2):
        close(one_of(mapped, index), slope(one_of(both, index)), 1e-7)


def test_a_sample_that_does_not_count_has_no_slope_and_spoils_no_other():
    broken = X.at[1].set(jnp.nan)
    slope = jax.grad(lambda x, targets: ESTIMATE(PARAMS, whole(x), targets)[0])
    of_x = slope(broken, TARGETS)
    kept = jnp.asarray([0, 2, 3])
    x = jax.tree.map(lambda leaf: leaf[kept], whole(X))
    alone = jax.grad(lambda d: ESTIMATE(PARAMS, {**x, "drive": d}, TARGETS[kept])[0])(x["drive"])
    np.testing.assert_allclose(of_x[kept], alone, rtol=1e-7)
    assert not of_x[1].any()
    assert not slope(jnp.full_like(X, jnp.nan), TARGETS).any()


def test_a_second_derivative_is_refused_with_a_sentence():
    slope = jax.grad(lambda encoder: value_of(PARAMS, encoder, TARGETS)[0])
    with pytest.raises(ValueError, match="only first derivatives are defined"):
        jax.grad(lambda encoder: jnp.sum(slope(encoder)))(ENCODER)


@pytest.mark.slow
def test_an_estimator_that_is_made_inside_of_a_program_is_differentiated_there():
    def value(params):
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), START)
        return value_of(params, ENCODER, TARGETS, estimator(start=start))[0]

    _, (gradient, _) = jax.grad(value_of, has_aux=True)(PARAMS, ENCODER, TARGETS)
    close(jax.jit(jax.grad(value))(PARAMS), gradient, 1e-9)
