"""The penalty's expectation is the Jacobian's own norm, and only the penalty is added."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KEY, inputs, labels, recurrent
from jax.flatten_util import ravel_pytree

import leastcontrol as lc

STRENGTH = 0.7
DRAWS = 2000


@pytest.mark.slow
def test_the_mean_of_many_draws_is_the_gradient_of_the_norm():
    system, batch = recurrent(), lc.Batch(inputs(), labels())
    plain = lc.RecurrentBackpropagation()
    penalised = lc.JacobianPenalty(plain, STRENGTH)
    credit = plain(system, None, batch)

    @jax.jit
    def draw(key):
        result = penalised(system, None, batch, key=key)
        change = jax.tree.map(jnp.subtract, result.gradient, credit.gradient)
        return ravel_pytree(change)[0], result.objective - credit.objective

    changes, values = jax.lax.map(draw, jax.random.split(KEY, DRAWS))

    states = credit.solution.value
    size = states.shape[1]

    def penalty(recurrent):
        # Of g = Wσ(φ) + drive: the Jacobian is W diag(σ′(φ)).
        slopes = 1 - jnp.tanh(states) ** 2
        norms = jnp.sum((recurrent[None] * slopes[:, None, :]) ** 2, axis=(1, 2))
        return STRENGTH * jnp.mean(norms) / size

    value, of_recurrent = jax.value_and_grad(penalty)(system.recurrent)
    none = jax.tree.map(jnp.zeros_like, credit.gradient)
    expected, _ = ravel_pytree(eqx.tree_at(lambda tree: tree.recurrent, none, of_recurrent))
    for mean_of, truth in ((changes, expected), (values, value)):
        mean_of = np.asarray(mean_of)
        standard_error = mean_of.std(axis=0) / DRAWS**0.5
        assert (abs(mean_of.mean(axis=0) - np.asarray(truth)) <= 5 * standard_error + 1e-12).all()
    # The standard error is small enough for that to say something.
    assert np.asarray(values).std() / DRAWS**0.5 < 0.02 * value


def test_samples_that_are_not_solved_are_not_penalised():
    system = recurrent()
    x = inputs().at[1].set(jnp.nan)
    rule = lc.JacobianPenalty(lc.LeastControl(lc.DynamicInversion(), 2.0), STRENGTH)
    credit = eqx.filter_jit(rule)(system, None, lc.Batch(x, labels()), key=KEY)
    assert int(lc.solved(credit.solution).sum()) == x.shape[0] - 1
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(credit.gradient))
    assert bool(jnp.isfinite(credit.objective))


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_a_strength_that_is_none_is_refused(strength):
    with pytest.raises(ValueError, match="positive and finite"):
        lc.JacobianPenalty(lc.RecurrentBackpropagation(), strength)


def test_a_call_without_a_key_is_refused():
    rule = lc.JacobianPenalty(lc.RecurrentBackpropagation(), 1.0)
    with pytest.raises(ValueError, match="was given no key"):
        rule(recurrent(), None, lc.Batch(inputs(), labels()))


def test_a_mirror_learns_the_penalty_as_the_system_does():
    system, batch = recurrent(), lc.Batch(inputs(), labels())
    plain = lc.LeastControl(lc.KolenPollack(), 2.0)
    penalised = lc.JacobianPenalty(plain, STRENGTH)
    weights = eqx.filter(system, system.feedback_parameters())

    def penalty_of(feedback):
        with_it, without = (rule(system, feedback, batch, key=KEY) for rule in (penalised, plain))
        change = jax.tree.map(jnp.subtract, with_it.feedback_gradient, without.feedback_gradient)
        of_system = jax.tree.map(jnp.subtract, with_it.gradient, without.gradient)
        return change, eqx.filter(of_system, system.feedback_parameters())

    # Weights that are the system's own learn what the system's do, and so stay its own …
    change, of_system = penalty_of(weights)
    assert float(jnp.linalg.norm(change.recurrent)) > 1e-3
    np.testing.assert_allclose(ravel_pytree(change)[0], ravel_pytree(of_system)[0], rtol=1e-4)
    # … and half as large ones half of it, for the penalty is a square.
    half, of_system = penalty_of(jax.tree.map(lambda leaf: leaf / 2, weights))
    np.testing.assert_allclose(half.recurrent, of_system.recurrent / 2, rtol=1e-4)
