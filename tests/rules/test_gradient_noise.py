"""The noise of a gradient and the effect of a tolerance on it, against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import feedforward, inputs, labels, recurrent

import leastcontrol as lc
from leastcontrol import rules
from leastcontrol.rules._gradient_noise import REFERENCE, with_tolerance

DECAY = 0.6


def linear_system():
    """Makes φ̇ = −φ + wφ + x, whose iteration from 0 reaches x(1 − wᵏ)/(1 − w) in k steps."""
    return lc.FunctionSystem(
        lambda params, state, x: params["w"] * state + x - state,
        lambda params, state: state,
        {"w": jnp.asarray(DECAY)},
        jnp.zeros(3),
    )


def linear_batch(size):
    x, y = jax.random.split(jax.random.key(5))
    return lc.Batch(jax.random.normal(x, (size, 3)), jax.random.normal(y, (size, 3)))


def steps_within(tolerance):
    """Returns the first k whose residual wᵏ‖x‖ is at most τ(1 − w)‖φ_k‖; 1 − w is the rate of f."""
    tolerance = tolerance + 16 * jnp.finfo(jnp.zeros(0).dtype).eps
    return next(k for k in range(1, 200) if DECAY**k <= tolerance * (1 - DECAY**k))


def gradients_within(batch, tolerance):
    """Returns a·φ of truncated geometric series for each sample, and the relative residual."""
    k = steps_within(tolerance)
    total = (1 - DECAY**k) / (1 - DECAY)
    states = total * batch.inputs
    adjoints = total * (states - batch.targets)
    return jnp.sum(adjoints * states, axis=1), DECAY**k / (1 - DECAY**k)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [4, 12])
def test_noise_and_effect_of_a_linear_network_have_a_closed_form(parts):
    batch, tolerance = linear_batch(12), 0.02
    rule = lc.RecurrentBackpropagation(loss=lc.SquaredError())
    noise = rules.gradient_noise(
        rule, linear_system(), None, batch, tolerance=tolerance, parts=parts
    )
    loose, residual = gradients_within(batch, tolerance)
    exact, _ = gradients_within(batch, REFERENCE * tolerance)
    means = loose.reshape(parts, -1).mean(axis=1)
    np.testing.assert_allclose(
        noise.standard_error, jnp.std(means, ddof=1) / np.sqrt(parts), rtol=1e-9
    )
    np.testing.assert_allclose(noise.effect, abs(jnp.mean(loose - exact)), rtol=1e-9)
    np.testing.assert_allclose(noise.error, residual / tolerance, rtol=1e-9)
    assert noise.parts == parts


@pytest.mark.slow
def test_a_sample_that_is_not_solved_changes_nothing():
    batch, tolerance = linear_batch(12), 0.02
    rule = lc.RecurrentBackpropagation(loss=lc.SquaredError())
    spoilt = batch._replace(inputs=batch.inputs.at[0].set(jnp.inf))
    noise = rules.gradient_noise(rule, linear_system(), None, spoilt, tolerance=tolerance, parts=12)
    exact, residual = gradients_within(batch, tolerance)
    np.testing.assert_allclose(noise.error, residual / tolerance, rtol=1e-9)
    np.testing.assert_allclose(
        noise.standard_error, jnp.std(exact[1:], ddof=1) / np.sqrt(11), rtol=1e-9
    )
    assert noise.parts == 11


@pytest.mark.slow
def test_the_effect_agrees_with_the_certificate():
    batch = lc.Batch(inputs(), labels())
    rule = lc.LeastControl(lc.DynamicInversion(), 1.0)
    system, tolerance = recurrent(), 1e-3
    noise = rules.gradient_noise(rule, system, None, batch, tolerance=tolerance, parts=2)
    credit = with_tolerance(rule, tolerance)(system, None, batch)
    # The certificate bounds each sample's error; the effect is that of their mean.
    alone = [
        rule(system, None, lc.Batch(batch.inputs[n : n + 1], batch.targets[n : n + 1])).gradient
        for n in range(len(batch.inputs))
    ]
    sizes = jnp.asarray([jnp.sqrt(sum(jnp.sum(a**2) for a in jax.tree.leaves(g))) for g in alone])
    predicted = rules.credit_certificate(rule, system, batch, credit).predicted_error
    assert 0 < noise.effect <= jnp.mean(predicted * sizes) * 1.05


@pytest.mark.slow
def test_samples_that_are_not_solved_count_in_neither_solve():
    batch = linear_batch(8)
    broken = batch._replace(inputs=batch.inputs.at[3].set(jnp.nan))
    rule = lc.RecurrentBackpropagation(loss=lc.SquaredError(), unsolved=rules.Keep())
    noise = rules.gradient_noise(rule, linear_system(), None, broken, tolerance=0.02, parts=4)
    loose, _ = gradients_within(batch, 0.02)
    # The third part has one sample left.
    means = jnp.asarray([loose[:2].mean(), loose[2], loose[4:6].mean(), loose[6:].mean()])
    np.testing.assert_allclose(noise.standard_error, jnp.std(means, ddof=1) / 2, rtol=1e-9)
    nothing = batch._replace(inputs=batch.inputs * jnp.nan)
    noise = rules.gradient_noise(rule, linear_system(), None, nothing, tolerance=0.02, parts=4)
    assert noise.parts == 0


@pytest.mark.parametrize("parts", [1, 3])
def test_parts_are_equal_and_at_least_two(parts):
    with pytest.raises(ValueError, match="write parts=8"):
        rules.gradient_noise(
            lc.RecurrentBackpropagation(),
            linear_system(),
            None,
            linear_batch(8),
            tolerance=1e-3,
            parts=parts,
        )


def test_a_rule_without_a_solve_has_no_tolerance():
    with pytest.raises(ValueError, match="Backpropagation solves for no equilibrium"):
        with_tolerance(lc.Backpropagation(), 1e-3)


CASES = {
    "automatic, ordered": (lc.LeastControl(lc.Automatic(), 1.0), feedforward),
    "automatic, recurrent": (lc.LeastControl(lc.Automatic(), 1.0), recurrent),
    "relative leak": (lc.LeastControl(lc.Automatic(), lc.RelativeLeak(1.0)), feedforward),
    "energy": (lc.LeastControl(lc.Energy(), 1.0), recurrent),
    "exact": (lc.LeastControl(lc.Exact(), 1.0), recurrent),
    "continuous time": (lc.LeastControl(lc.ContinuousTime(), 1.0), recurrent),
    "Kolen–Pollack": (lc.LeastControl(lc.KolenPollack(), 1.0), recurrent),
    "recurrent backpropagation": (lc.RecurrentBackpropagation(), recurrent),
    "equilibrium propagation": (lc.EquilibriumPropagation(lc.DynamicInversion(), 0.1), recurrent),
    "in parts": (lc.InParts(lc.LeastControl(lc.DynamicInversion(), 10.0), 2), recurrent),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_solver_takes_a_traced_tolerance_without_compiling_again(name):
    rule, make = CASES[name]
    system, batch, traced = make(), lc.Batch(inputs(), labels()), []
    feedback = rule.init(system, key=jax.random.key(0))

    @eqx.filter_jit
    def credit(relative):
        traced.append(name)
        return with_tolerance(rule, relative)(system, feedback, batch, key=jax.random.key(1))

    solutions = [credit(jnp.asarray(relative)).solution for relative in (1e-2, 1e-7)]
    assert traced == [name]
    assert all(lc.solved(solution).all() for solution in solutions)
    loose, tight = (solution.stats for solution in solutions)
    assert loose.steps.mean() < tight.steps.mean()
    residuals = lambda stats: stats.state_residual + stats.optimality_residual  # noqa: E731
    assert residuals(loose).max() > residuals(tight).max()
