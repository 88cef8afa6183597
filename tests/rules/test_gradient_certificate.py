"""The certificate of a gradient, against the error that dense implicit differentiation finds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from helpers import credit, feedforward, inputs, recurrent, vectors
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol.equilibrium import RESULTS

SIZE, BATCH = 4, 3
KEYS = jax.random.split(jax.random.key(8), 4)
PARAMS = {
    "W": 0.45 * jax.random.normal(KEYS[0], (SIZE, SIZE)),
    "U": jax.random.normal(KEYS[1], (SIZE, 2)),
}
X = {"drive": jax.random.normal(KEYS[2], (BATCH, 2)), "mask": jnp.asarray([True, False, True])}
WEIGHTS = jax.random.normal(KEYS[3], (SIZE,))


def field(params, state, x):
    drive = params["U"] @ x["drive"]
    return jnp.tanh(params["W"] @ state + jnp.where(x["mask"], drive, 0.5 * drive)) - state


def loss(state):
    return jnp.sum(jnp.sin(WEIGHTS * state) + state**2)


def total(states):
    return jnp.sum(jax.vmap(loss)(states))


cotangent = jax.grad(total)


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def roots():
    def solve(x):
        def step(_, state):
            jacobian = jax.jacobian(field, 1)(PARAMS, state, x)
            return state - jnp.linalg.solve(jacobian, field(PARAMS, state, x))

        return jax.lax.fori_loop(0, 30, step, jnp.zeros(SIZE))

    return jax.vmap(solve)(X)


ROOTS = jax.jit(roots)()


def adjoints(states):
    """Solves Jᵀa + c = 0 by a dense matrix."""

    def solve(state, x):
        return -jnp.linalg.solve(jax.jacobian(field, 1)(PARAMS, state, x).T, jax.grad(loss)(state))

    return jax.vmap(solve)(states, X)


def gradients(states, adjoint):
    def of_one(state, x, a):
        return ravel_pytree(jax.vjp(lambda p: field(p, state, x), PARAMS)[1](a)[0])[0]

    return jax.vmap(of_one)(states, X, adjoint)


def true_errors(states, adjoint):
    exact = gradients(ROOTS, adjoints(ROOTS))
    return jnp.linalg.norm(gradients(states, adjoint) - exact, axis=1) / jnp.linalg.norm(
        exact, axis=1
    )


def certificate(states, **options):
    return lc.gradient_certificate(field, PARAMS, X, states, cotangent, **options)


def within(predicted, true, factor):
    assert (predicted < factor * true).all()
    assert (predicted > true / factor).all()


def test_the_gradient_of_settle_is_certified():
    solution = lc.settle(field, PARAMS, X, start=jnp.zeros(SIZE), tolerance=lc.Tolerance(1e-8))
    outcome = certificate(solution, tolerance=lc.Tolerance(1e-8))
    assert (outcome.result == RESULTS.successful).all()
    assert (outcome.predicted_error < 1e-6).all()
    np.testing.assert_allclose(outcome.root_residual, solution.stats.state_residual, rtol=1e-6)
    assert (outcome.adjoint_residual < 1e-6).all()


def test_a_root_that_is_not_converged_is_named_and_its_error_predicted():
    stopped = lc.settle(
        field, PARAMS, X, start=jnp.zeros(SIZE), solver=lc.FixedPoint(5), unsolved=lc.Keep()
    )
    outcome = certificate(stopped, tolerance=lc.Tolerance(1e-10))
    assert (outcome.result == RESULTS.root_to_blame).all()
    assert "the state is not at rest" in RESULTS[RESULTS.root_to_blame]
    within(outcome.predicted_error, true_errors(stopped.value, adjoints(stopped.value)), 3)
    assert (outcome.adjoint_error < 1e-8).all()


def test_a_wrong_state_is_named_and_its_error_predicted():
    states = ROOTS + 0.05 * jnp.cos(jnp.arange(BATCH * SIZE)).reshape(BATCH, SIZE)
    outcome = certificate(states)
    assert (outcome.result == RESULTS.root_to_blame).all()
    within(outcome.predicted_error, true_errors(states, adjoints(states)), 3)
    residuals = jax.vmap(lambda state, x: jnp.linalg.norm(field(PARAMS, state, x)))(states, X)
    np.testing.assert_allclose(outcome.root_residual, residuals, rtol=1e-12)


@pytest.mark.slow
def test_an_adjoint_that_is_cut_after_two_steps_is_named_and_its_error_is_exact():
    outcome = certificate(ROOTS, solver=lc.FixedPoint(2))
    assert (outcome.result == RESULTS.adjoint_to_blame).all()
    # The iterate whose error the second step measures is a = c, the first term of the series.
    cut = cotangent(ROOTS)
    np.testing.assert_allclose(outcome.predicted_error, true_errors(ROOTS, cut), rtol=1e-3)
    residuals = [
        jnp.linalg.norm(jax.jacobian(field, 1)(PARAMS, state, one(X, index)).T @ a + a)
        for index, (state, a) in enumerate(zip(ROOTS, cut, strict=True))
    ]
    np.testing.assert_allclose(outcome.adjoint_residual, residuals, rtol=1e-10)


@pytest.mark.slow
def test_an_adjoint_that_forgets_a_parameter_is_named_and_its_error_is_exact():
    forgetful = {**PARAMS, "W": PARAMS["W"] * (1 - jnp.eye(SIZE))}

    def solve(state, x):
        jacobian = jax.jacobian(field, 1)(forgetful, state, x)
        return -jnp.linalg.solve(jacobian.T, jax.grad(loss)(state))

    wrong = jax.vmap(solve)(ROOTS, X)
    outcome = certificate(ROOTS, adjoint=wrong)
    assert (outcome.result == RESULTS.adjoint_to_blame).all()
    np.testing.assert_allclose(outcome.predicted_error, true_errors(ROOTS, wrong), rtol=1e-3)
    assert (outcome.root_error < 1e-10).all()
    right = certificate(ROOTS, adjoint=adjoints(ROOTS))
    assert (right.predicted_error < 1e-10).all()


def test_nested_states_constant_cotangents_and_a_gradient_in_x():
    nested = lambda _, state, x: {"a": x - state["b"] ** 3, "b": state["a"] - 2 * state["b"]}  # noqa: E731
    x = jnp.asarray([[8.0], [1.0]])
    states = {"a": jnp.asarray([[4.0], [2.1]]), "b": jnp.asarray([[2.0], [1.05]])}
    ones = jax.tree.map(jnp.ones_like, states)
    outcome = lc.gradient_certificate(nested, None, x, states, ones, solver=lc.TrustRegion())
    # L = a + b at b = ∛x and a = 2b has the slope 1/b², which for b = 1.05 is 9 % too small.
    np.testing.assert_allclose(outcome.predicted_error, [0, 0.1], atol=0.02)
    assert (outcome.result == RESULTS.successful)[0]
    assert (outcome.result == RESULTS.root_to_blame)[1]


def test_a_singular_jacobian_and_a_state_that_is_not_finite_are_named():
    # s² = x + p meets zero: the two rest points vanish there.
    square = lambda p, state, x: x + p - state**2  # noqa: E731
    x = jnp.asarray([[0.0], [1.0], [jnp.nan]])
    states = jnp.asarray([[0.0], [1.0], [1.0]])
    outcome = lc.gradient_certificate(
        square, jnp.zeros(1), x, states, jnp.ones((3, 1)), solver=lc.TrustRegion()
    )
    expected = [RESULTS.not_differentiable, RESULTS.successful, RESULTS.no_finite_point]
    for index, result in enumerate(expected):
        assert (outcome.result == result)[index], index
    np.testing.assert_array_equal(jnp.isfinite(outcome.predicted_error), [False, True, False])


def test_an_accuracy_of_zero_is_refused():
    with pytest.raises(ValueError, match="write accuracy=1e-2"):
        certificate(ROOTS, accuracy=0.0)


# --- a rule's credit

SYSTEM = recurrent()
BATCH_OF_RULES = lc.Batch(inputs(BATCH), vectors(BATCH))
RULES = {
    "least control": lambda tolerance, solver: lc.LeastControl(
        lc.DynamicInversion(tolerance, solver), 2.0, loss=lc.SquaredError(), unsolved=lc.Keep()
    ),
    "recurrent": lambda tolerance, solver: lc.RecurrentBackpropagation(
        lc.SquaredError(), tolerance, solver, lc.Keep()
    ),
}


@jax.jit
def sample_gradients(signals):
    """Computes ∂_θfᵀa + ∂_θhᵀe of each sample for its state, a and e."""

    def of_one(x, signals):
        state, *signal = signals

        def field_and_readout(system):
            return system.vector_field(state, system.drive(x)), system.readout(state)

        return ravel_pytree(eqx.filter_vjp(field_and_readout, SYSTEM)[1](tuple(signal))[0])[0]

    return jax.vmap(of_one)(BATCH_OF_RULES.inputs, signals)


def dense_adjoint(state, x, error):
    drive = SYSTEM.drive(x)
    jacobian = jax.jacobian(lambda s: SYSTEM.vector_field(s, drive))(state)
    return -jnp.linalg.solve(jacobian.T, jax.jacobian(SYSTEM.readout)(state).T @ error)


def signals(name, solution):
    value = solution.value
    if name == "least control":
        return value.state, -value.control, -value.output_control
    errors = jax.vmap(SYSTEM.readout)(value) - BATCH_OF_RULES.targets
    return value, jax.vmap(dense_adjoint)(value, BATCH_OF_RULES.inputs, errors), errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["least control", "recurrent"])
def test_the_error_of_a_credit_is_predicted_and_the_root_or_the_signal_blamed(name):
    exact_rule = RULES[name](lc.Tolerance(1e-11), lc.FixedPoint(2000))
    exact = credit(exact_rule, SYSTEM, BATCH_OF_RULES)
    sound = lc.credit_certificate(exact_rule, SYSTEM, BATCH_OF_RULES, exact)
    assert (sound.result == RESULTS.successful).all()
    assert (sound.predicted_error < 1e-7).all()
    reference = sample_gradients(signals(name, exact.solution))

    def true_errors(solution):
        computed = sample_gradients(signals(name, solution))
        size = jnp.linalg.norm(reference, axis=1)
        return jnp.linalg.norm(computed - reference, axis=1) / size

    moved = eqx.tree_at(
        lambda s: s.value.state if name == "least control" else s.value,
        exact.solution,
        replace_fn=lambda state: (
            state + 0.02 * jnp.cos(jnp.arange(state.size)).reshape(state.shape)
        ),
    )
    outcome = lc.credit_certificate(exact_rule, SYSTEM, BATCH_OF_RULES, moved, accuracy=1e-3)
    assert (outcome.result == RESULTS.root_to_blame).all()
    within(outcome.predicted_error, true_errors(moved), 3)
    if name == "least control":
        # The control is 4 % too large, and with it the gradient.
        scale = lambda leaf: 1.04 * leaf  # noqa: E731
        where = lambda s: (s.value.control, s.value.output_control)  # noqa: E731
        louder = eqx.tree_at(where, exact.solution, replace_fn=scale)
        outcome = lc.credit_certificate(exact_rule, SYSTEM, BATCH_OF_RULES, louder)
        assert (outcome.adjoint_residual > 0).all()
        assert (outcome.result != RESULTS.successful).all()
        within(outcome.predicted_error, true_errors(louder), 3)


def test_a_rule_without_equations_is_refused():
    rule = lc.Backpropagation(lc.SquaredError())
    network = feedforward()
    result = credit(rule, network, BATCH_OF_RULES)
    with pytest.raises(ValueError, match="Backpropagation has no equations of which its gradient"):
        lc.credit_certificate(rule, network, BATCH_OF_RULES, result)


@pytest.mark.slow
def test_a_state_of_another_librarys_solver_is_certified_as_it_is():
    def root(x, steps):
        find = lambda state, _: field(PARAMS, state, x)  # noqa: E731
        solver = optx.Newton(rtol=1e-9, atol=1e-9)
        return optx.root_find(find, solver, jnp.zeros(SIZE), max_steps=steps, throw=False).value

    states = jax.jit(jax.vmap(lambda x: root(x, 20)))(X)
    assert (certificate(states).result == RESULTS.successful).all()
    early = jax.jit(jax.vmap(lambda x: root(x, 2)))(X)
    outcome = certificate(early, accuracy=1e-6)
    assert (outcome.result == RESULTS.root_to_blame).all()
    within(outcome.predicted_error, true_errors(early, adjoints(early)), 3)
