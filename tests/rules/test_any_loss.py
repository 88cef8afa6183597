"""Rules with a plain function for a loss, against the closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SIZE,
    credit,
    flat,
    function_system,
    inputs,
    labels,
    recurrent,
    soft,
    timescales,
    timescales_readout,
    vectors,
)

import leastcontrol as lc

START = {"fast": jnp.zeros(3), "slow": jnp.zeros(4)}
PARAMS = function_system().params
TIGHT = lc.Tolerance(1e-10)


def squared(output, target):
    return 0.5 * jnp.sum((output - target) ** 2)


def entropy(output, target):
    return -jnp.sum(target * jax.nn.log_softmax(output))


@pytest.mark.parametrize(
    "rule_of",
    [
        lambda loss: lc.RecurrentBackpropagation(loss, TIGHT),
        lambda loss: lc.LeastControl(lc.DynamicInversion(TIGHT), 2.0, loss=loss),
        lambda loss: lc.LeastControl(lc.Exact(TIGHT), 0.1, loss=loss),
        lambda loss: lc.EquilibriumPropagation(lc.DynamicInversion(TIGHT), 0.1, loss=loss),
    ],
    ids=["recurrent-backpropagation", "dynamic-inversion", "exact", "equilibrium-propagation"],
)
def test_a_function_gives_what_the_closed_form_gives(rule_of):
    system, x, targets = recurrent(), inputs(4), soft(labels(4), 0.1)
    derived = credit(rule_of(entropy), system, lc.Batch(x, targets))
    closed = credit(rule_of(lc.CrossEntropy()), system, lc.Batch(x, targets))
    assert lc.solved(derived.solution).all()
    np.testing.assert_allclose(flat(derived.gradient), flat(closed.gradient), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(derived.objective, closed.objective, rtol=1e-8)


def heads(params, state):
    output = timescales_readout(params, state)
    return {"class": output[:2], "map": jnp.stack([output, 2 * output])}


def loss_of_heads(output, target):
    """A label for one head, and a picture with a mask for the other."""
    difference = jnp.where(target["mask"], output["map"] - target["map"], 0)
    return entropy(output["class"], jax.nn.one_hot(target["label"], 2)) + jnp.sum(
        jnp.sqrt(1 + difference**2)
    )


@pytest.mark.slow
def test_outputs_and_targets_may_be_pytrees_and_the_gradient_is_exact():
    targets = {
        "label": labels(4) % 2,
        "map": jnp.stack([vectors(4), vectors(4, 1)], axis=1),
        "mask": jax.random.bernoulli(jax.random.key(1), 0.7, (4, 2, SIZE)),
    }
    estimate = lc.least_control(
        timescales, heads, loss_of_heads, start=START, leak=0.5, controller=lc.Exact(TIGHT)
    )
    x = inputs(4)
    value, gradient, solution = estimate(PARAMS, x, targets)
    assert lc.solved(solution).all()
    assert solution.value.output_control.shape == (4, 2 + 2 * SIZE)
    step, moved = (
        1e-5,
        jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), PARAMS),
    )
    at = lambda sign: estimate(  # noqa: E731
        jax.tree.map(lambda p, m: p + sign * step * m, PARAMS, moved), x, targets
    )[0]
    along = sum(jnp.sum(gradient[name] * moved[name]) for name in PARAMS)
    np.testing.assert_allclose(along, (at(1) - at(-1)) / (2 * step), rtol=1e-6)
    # The value is the energy of the solution, from its definition.
    point = solution.value
    read = jax.vmap(lambda state: jax.flatten_util.ravel_pytree(heads(PARAMS, state))[0])(
        point.state
    )
    output = read + point.output_control
    cut = {"class": output[:, :2], "map": output[:, 2:].reshape(4, 2, SIZE)}
    energy = 0.5 * sum(
        jnp.sum(leaf**2) for leaf in jax.tree.leaves((point.control, point.output_control))
    )
    energy = energy + jnp.sum(jax.vmap(loss_of_heads)(cut, targets)) / 0.5
    np.testing.assert_allclose(value, energy / 4, rtol=1e-8)


def test_a_loss_that_is_not_finite_for_a_target_leaves_its_sample_unsolved():
    targets = vectors(4).at[1].set(jnp.nan)
    solution = credit(
        lc.LeastControl(lc.DynamicInversion(), 0.5, loss=squared),
        recurrent(),
        lc.Batch(inputs(4), targets),
    ).solution
    np.testing.assert_array_equal(lc.solved(solution), [True, False, True, True])
