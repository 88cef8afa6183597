"""Leaks in units of each sample's gain: what is descended, its gradient, and its two limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BATCH,
    KEY,
    SIZE,
    Oracle,
    credit,
    feedforward,
    flat,
    implicit,
    inputs,
    labels,
    naive_cross_entropy,
    naive_squared_error,
    parameters,
    recurrent,
    samples,
    soft,
    solve,
    vectors,
)
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol.rules._strength import with_kappa

TIGHT = lc.Tolerance(1e-11)
MIXED = lc.FixedPoint(max_steps=500, memory=4)
INVERSION = lc.DynamicInversion(TIGHT, MIXED)
SOFT = lc.CrossEntropy(softness=0.01)
TWO = 2


def dense_gain(system, x, slope_of):
    """Returns eᵀKe/eᵀe with K = (∂y/∂ψ)(∂y/∂ψ)ᵀ + I, by dense Jacobians, and y, at rest."""
    drive = system.drive(x)
    start, unravel = ravel_pytree(system.initial_state(drive))
    field = lambda flat: ravel_pytree(system.vector_field(unravel(flat), drive))[0]  # noqa: E731
    state = start
    for _ in range(50):
        state = state - jnp.linalg.solve(jax.jacobian(field)(state), field(state))
    read = lambda flat: system.readout(unravel(flat))  # noqa: E731
    answer = -jax.jacobian(read)(state) @ jnp.linalg.inv(jax.jacobian(field)(state))
    slope = slope_of(read(state))
    gain = answer @ answer.T + jnp.eye(SIZE)
    return slope @ gain @ slope / (slope @ slope), read(state)


CASES = {
    "feedforward": (feedforward, SOFT, naive_cross_entropy, False, 1e-10),
    "by error": (feedforward, lc.SquaredError(), naive_squared_error, True, 1e-10),
    # Without an order the gain is only a scale, and is measured to a thousandth.
    "recurrent": (recurrent, SOFT, naive_cross_entropy, False, 5e-3),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_loss_after_control_and_its_price(case):
    make, loss, naive, by_error, accuracy = CASES[case]
    kappa, system, x = 0.7, make(), inputs(TWO)
    targets, given = vectors(TWO), vectors(TWO)
    if isinstance(loss, lc.CrossEntropy):
        targets, given = soft(labels(TWO), 0.01), labels(TWO)
    control = lc.RelativeLeak(kappa, by_error)
    result = credit(lc.LeastControl(INVERSION, control, loss=loss), system, lc.Batch(x, given))
    assert lc.solved(result.solution).all()
    leaks = control.ask(control.problem(system, loss), samples(system, x, given)).samples.leak

    objective, differences, implicitly, free_losses = 0.0, 0.0, 0.0, []
    for one in range(TWO):
        of = lambda output, one=one: naive(output, targets[one])  # noqa: E731
        gain, output = dense_gain(system, x[one], jax.grad(of))
        free_losses.append(of(output))
        expected = kappa * gain * (free_losses[-1] if by_error else 1.0)
        np.testing.assert_allclose(leaks[one], expected, rtol=accuracy)
        # The leak is a constant of the objective: its price of control, and no function of θ.
        oracle = Oracle(system, naive, x[one][None], targets[one][None], leak := float(leaks[one]))
        objective += leak * oracle.value(oracle.theta) / TWO
        differences += leak * oracle.finite_differences() / TWO
        implicitly += leak * np.asarray(implicit(oracle)) / TWO
    np.testing.assert_allclose(result.objective, objective, rtol=1e-10)
    np.testing.assert_allclose(result.free_loss, np.mean(free_losses), rtol=accuracy)
    mine = flat(parameters(result.gradient))
    for expected in (differences, implicitly):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def linear(key, inner=4):
    return lc.Feedforward(SIZE, (inner,), SIZE, activation=lambda x: x, key=key)


@pytest.mark.slow
def test_closed_form_of_a_linear_network():
    # αF = min ½α(‖ψ‖² + ‖u‖²) + ½‖r + Dψ + u‖² = ½ rᵀ(I + K/α)⁻¹r, with K = DDᵀ + I.
    system, x, targets, kappa = linear(KEY), inputs(TWO), vectors(TWO), 0.4
    layer, readout = system.layers

    def error_and_gain(layers, x, target):
        first, last = layers
        error = last.weight @ (first.weight @ x + first.bias) + last.bias - target
        gain = last.weight @ last.weight.T + jnp.eye(SIZE)
        return error, gain

    def leak_of(x, target):
        error, gain = error_and_gain((layer, readout), x, target)
        return kappa * (error @ gain @ error) / (error @ error)

    leaks = jax.vmap(leak_of)(x, targets)

    def objective(layers):
        def of_one(x, target, leak):
            error, gain = error_and_gain(layers, x, target)
            return 0.5 * error @ jnp.linalg.solve(jnp.eye(SIZE) + gain / leak, error)

        return jnp.mean(jax.vmap(of_one)(x, targets, leaks))

    rule = lc.LeastControl(INVERSION, lc.RelativeLeak(kappa), loss=lc.SquaredError())
    result = credit(rule, system, lc.Batch(x, targets))
    np.testing.assert_allclose(result.objective, objective(system.layers), rtol=1e-10)
    expected = flat(jax.grad(objective)(system.layers))
    np.testing.assert_allclose(
        flat(result.gradient.layers), expected, rtol=0, atol=1e-9 * np.abs(expected).max()
    )


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_share_of_a_quadratic_loss_depends_on_kappa_alone(factor):
    # One output and a linear network: 1 − (κ/(κ + 1))² of the loss, whatever the weights.
    network = lc.Feedforward(SIZE, (4,), 1, activation=lambda x: x, key=KEY)
    network = jax.tree.map(lambda leaf: factor * leaf if eqx.is_array(leaf) else leaf, network)
    batch = lc.Batch(inputs(TWO), vectors(TWO)[:, :1])
    rule = lc.LeastControl(INVERSION, lc.RelativeLeak(1.0), loss=lc.SquaredError())
    for kappa in (0.25, 3.0):
        result = credit(with_kappa(rule, jnp.asarray(kappa)), network, batch)
        share = rule.aspects.removed(network, batch, result)
        np.testing.assert_allclose(share, 1 - (kappa / (kappa + 1)) ** 2, rtol=1e-8)


@pytest.mark.slow
def test_weak_control_descends_the_loss():
    system, batch = feedforward(), lc.Batch(inputs(TWO), labels(TWO))
    exact = flat(lc.Backpropagation(SOFT)(system, None, batch).gradient)
    rule = lc.LeastControl(INVERSION, lc.RelativeLeak(1.0), loss=SOFT)
    errors = []
    for kappa in (1e3, 1e4):
        result = credit(with_kappa(rule, jnp.asarray(kappa)), system, batch)
        errors.append(np.abs(flat(result.gradient) - exact).max() / np.abs(exact).max())
        np.testing.assert_allclose(result.objective, result.free_loss, rtol=3 / kappa)
    assert errors[0] < 3e-3
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)


def test_a_leak_of_its_own_replaces_that_of_the_problem():
    system, x = feedforward(), inputs(TWO)
    batch = samples(system, x, labels(TWO))
    leaks = jnp.asarray([0.3, 4.0])
    problem = lc.ControlProblem(system, SOFT, jnp.nan)
    together = solve(INVERSION, problem, batch._replace(leak=leaks))
    assert lc.solved(together).all()
    for one in range(TWO):
        # An array, so that both leaks have one program.
        alone = lc.ControlProblem(system, SOFT, leaks[one])
        expected = solve(INVERSION, alone, batch)
        np.testing.assert_allclose(
            together.value.output_control[one], expected.value.output_control[one], rtol=1e-8
        )


@pytest.mark.slow
def test_the_value_of_your_own_functions_is_differentiated_at_the_leaks_of_the_samples():
    weights = 0.5 * jax.random.normal(KEY, (SIZE, SIZE))
    estimate = lc.least_control(
        lambda w, state, x: w @ x - state,
        lambda w, state: state,
        lc.SquaredError(),
        start=jnp.zeros(SIZE),
        leak=lc.RelativeLeak(0.5),
        controller=lc.Exact(TIGHT),
    )
    batch = (inputs(TWO), vectors(TWO))
    _, gradient, solution = estimate(weights, *batch)
    assert lc.solved(solution).all()
    mine = jax.grad(lambda w: estimate(w, *batch)[0])(weights)
    np.testing.assert_allclose(mine, gradient, rtol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, -1.0, float("nan")])
def test_kappa_is_positive(kappa):
    with pytest.raises(ValueError, match=r"write RelativeLeak\(1.0\)"):
        lc.RelativeLeak(kappa)


def test_a_rule_without_a_relative_leak_cannot_be_asked_for_a_share():
    with pytest.raises(ValueError, match="no share of the loss can be asked of it"):
        with_kappa(lc.LeastControl(INVERSION, 6.4), 1.0)


def test_the_share_of_a_fixed_leak_is_measured_over_the_samples_that_count():
    system, batch = feedforward(), lc.Batch(inputs(), labels())
    rule = lc.LeastControl(INVERSION, 0.5, loss=SOFT)
    result = credit(rule, system, batch)
    nothing = jax.tree.map(jnp.zeros_like, system.initial_state(jnp.zeros(4)))
    free = jax.vmap(lambda x: system.readout(system.settle(system.drive(x), nothing)))
    losses = [
        naive_cross_entropy(output, probabilities)
        for output, probabilities in zip(free(batch.inputs), soft(labels(), 0.01), strict=True)
    ]
    expected = 1 - result.loss / np.mean(losses)
    np.testing.assert_allclose(rule.aspects.removed(system, batch, result), expected, rtol=1e-10)
    half = jnp.arange(BATCH) < BATCH // 2
    of_one = lambda keep, result: lc.RESULTS.where(keep, result, lc.RESULTS.not_at_rest)  # noqa: E731
    fewer = jax.vmap(of_one)(half, result.solution.result)
    dropped = eqx.tree_at(lambda r: r.solution.result, result, fewer)
    expected = 1 - result.loss / np.mean(losses[: BATCH // 2])
    np.testing.assert_allclose(rule.aspects.removed(system, batch, dropped), expected, rtol=1e-10)


@pytest.mark.slow
def test_parts_of_a_batch_have_the_free_loss_of_all():
    system, batch = feedforward(), lc.Batch(inputs(), labels())
    rule = lc.LeastControl(INVERSION, lc.RelativeLeak(0.5), loss=SOFT)
    whole, parts = credit(rule, system, batch), credit(lc.InParts(rule, 3), system, batch)
    np.testing.assert_allclose(parts.free_loss, whole.free_loss, rtol=1e-12)
    np.testing.assert_allclose(flat(parts.gradient), flat(whole.gradient), rtol=1e-9, atol=1e-12)
