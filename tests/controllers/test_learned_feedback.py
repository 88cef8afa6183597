"""Controllers with feedback weights: their rest points, and how the feedback learns."""

import dataclasses
import math

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
    function_system,
    inputs,
    labels,
    one_of,
    recurrent,
    vectors,
)

import leastcontrol as lc
from leastcontrol import data, training
from leastcontrol.diagnostics import column_space_condition
from leastcontrol.equilibrium import LinearPath, noise_correlation

TIGHT = lc.Tolerance(1e-11)
MIXED = lc.FixedPoint(max_steps=500, memory=4)
SQUARED = lc.SquaredError()
LEAK = 0.6
MIRROR = lc.LeastControl(lc.KolenPollack(TIGHT, MIXED), LEAK, loss=SQUARED)
FROZEN = lc.LeastControl(lc.LinearFeedback(TIGHT, MIXED, None), LEAK, loss=SQUARED)
INVERSION = lc.LeastControl(lc.DynamicInversion(TIGHT, MIXED), LEAK, loss=SQUARED)

with_feedback = eqx.filter_jit(
    lambda rule, system, feedback, batch, key: rule(system, feedback, batch, key=key)
)


def batch_of(system):
    del system
    return lc.Batch(inputs(), vectors())


def own_weights(system):
    return eqx.filter(system, system.feedback_parameters())


def close(computed, expected, accuracy=1e-9):
    computed, expected = flat(computed), flat(expected)
    assert np.linalg.norm(computed - expected) <= accuracy * np.linalg.norm(expected)


# --- Kolen and Pollack's mirror


@pytest.mark.slow
@pytest.mark.parametrize("make", [feedforward, recurrent])
def test_a_mirror_with_the_systems_weights_finds_the_least_control(make):
    system, batch = make(), batch_of(make)
    weights = own_weights(system)
    mirrored = with_feedback(MIRROR, system, weights, batch, None)
    exact = credit(INVERSION, system, batch)
    assert lc.solved(mirrored.solution).all()
    close(mirrored.solution.value, exact.solution.value)
    close(mirrored.gradient, exact.gradient)
    # Both weights of a connection learn from the same product.
    close(mirrored.feedback_gradient, eqx.filter(exact.gradient, system.feedback_parameters()))
    np.testing.assert_allclose(mirrored.objective, exact.objective, rtol=1e-9)


def test_the_control_comes_back_through_the_mirror():
    system, batch = feedforward(), batch_of(feedforward)
    feedback = MIRROR.init(system, key=KEY)
    result = with_feedback(MIRROR, system, feedback, batch, None)
    assert lc.solved(result.solution).all()
    (first, second), (near, far), u = jax.tree.map(np.asarray, result.solution.value)
    slope = lambda phi: 1 - np.tanh(phi) ** 2  # noqa: E731
    (w1, b1), (w2, b2), (w3, b3) = [
        (np.asarray(layer.weight), np.asarray(layer.bias)) for layer in system.layers
    ]
    s2, s3 = (np.asarray(layer.weight) for layer in feedback.layers[1:])
    assert np.linalg.norm(s2 - w2) > 0.5 * np.linalg.norm(w2)
    np.testing.assert_allclose(far, slope(second) * (u @ s3), atol=1e-9)
    np.testing.assert_allclose(near, slope(first) * (far @ s2), atol=1e-9)
    x, targets = map(np.asarray, batch[:2])
    np.testing.assert_allclose(first, x @ w1.T + b1 + near, atol=1e-9)
    np.testing.assert_allclose(second, np.tanh(first) @ w2.T + b2 + far, atol=1e-9)
    output = np.tanh(second) @ w3.T + b3 + u
    np.testing.assert_allclose(LEAK * u, targets - output, atol=1e-9)
    # ΔS is the presynaptic activity times the control behind it, for this sample and connection.
    expected = -far.T @ np.tanh(first) / BATCH, -u.T @ np.tanh(second) / BATCH
    gradients = [layer.weight for layer in result.feedback_gradient.layers[1:]]
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    # The input's weights and the biases have no counterpart.
    assert len(jax.tree.leaves(feedback)) == len(jax.tree.leaves(result.feedback_gradient)) == 2


@pytest.mark.parametrize("make", [recurrent, function_system])
def test_a_mirror_of_any_f_has_its_condition(make):
    system, batch = make(), batch_of(make)
    feedback = MIRROR.init(system, key=KEY)
    # Small feedback, and steps that the fast population can follow.
    feedback = jax.tree.map(lambda leaf: 0.3 * leaf, feedback)
    result = with_feedback(MIRROR, system, feedback, batch, None)
    solved = np.asarray(lc.solved(result.solution))
    assert solved.all() or make is function_system
    mirror = eqx.combine(feedback, system)
    for index in np.flatnonzero(solved):
        state, control, u = one_of(result.solution.value, index)
        drive = system.drive(batch.inputs[index])
        both = lambda phi, drive=drive: (mirror.vector_field(phi, drive), mirror.readout(phi))  # noqa: E731
        assert np.linalg.norm(flat(jax.vjp(both, state)[1]((control, u)))) < 1e-9
        assert np.linalg.norm(flat(system.vector_field(state, drive)) + flat(control)) < 1e-9


def test_every_array_of_two_axes_is_mirrored_unless_the_system_knows_better():
    assert len(jax.tree.leaves(MIRROR.init(function_system(), key=KEY))) == 4
    system = recurrent()
    feedback = MIRROR.init(system, key=KEY)
    assert [leaf.shape for leaf in jax.tree.leaves(feedback)] == [(5, 5), (SIZE, 5)]
    # As large as the system's own, whatever that is.
    large = lc.EquilibriumRNN(2, 100, 90, key=KEY)
    for drawn, weight in zip(
        jax.tree.leaves(MIRROR.init(large, key=KEY)),
        jax.tree.leaves(own_weights(large)),
        strict=True,
    ):
        drawn, weight = np.asarray(drawn), np.asarray(weight)
        assert np.std(drawn) == pytest.approx(np.std(weight), rel=0.05)
        assert abs(np.corrcoef(drawn.ravel(), weight.ravel())[0, 1]) < 0.05


def test_the_decay_makes_the_mirror_the_system():
    with jax.enable_x64(False):
        splits = data.load("digits")
        system = lc.Feedforward(64, (16,), 10, key=jax.random.key(0))
        rule = lc.LeastControl(lc.KolenPollack(), 6.4)
        steps, decay = 2 * (len(splits.train) // 64), 0.005
        config = training.TrainingConfig(2, 64, 1e-2, 1e-3, 0.02, weight_decay=decay)
        trained = training.train(system, rule, splits.train, splits.validation, config, seed=3)
        first = rule.init(system, key=jax.random.split(jax.random.key(3), 3)[1])
        before = first.layers[1].weight - system.layers[1].weight
        after = trained.feedback.layers[1].weight - trained.system.layers[1].weight
    # Equal gradients and equal optimisers: what was unequal at first only decays.
    np.testing.assert_allclose(after, (1 - decay) ** steps * before, atol=2e-5)
    assert trained.metrics[-1].loss < 1.9
    assert trained.metrics[-1].converged_fraction > 0.99


# --- linear feedback


@pytest.mark.slow
@pytest.mark.parametrize("make", [feedforward, recurrent])
def test_the_control_is_linear_in_that_of_the_output(make):
    system, batch = make(), batch_of(make)
    weights = FROZEN.init(system, key=KEY)
    result = with_feedback(FROZEN, system, weights, batch, None)
    assert lc.solved(result.solution).all()
    assert result.feedback_gradient is None
    state, control, u = result.solution.value
    for leaf, q in zip(jax.tree.leaves(control), jax.tree.leaves(weights), strict=True):
        np.testing.assert_allclose(leaf, u @ q.T, atol=1e-10)
    field = jax.vmap(system.vector_field)(state, jax.vmap(system.drive)(batch.inputs))
    np.testing.assert_allclose(flat(field), -flat(control), atol=1e-9)
    output = jax.vmap(system.readout)(state) + u
    np.testing.assert_allclose(LEAK * u, batch.targets - output, atol=1e-9)
    # The parameters learn from σ′(φ)ψ, the readout from u.
    states, controls = map(jax.tree.leaves, (state, control))
    if make is feedforward:
        before = [batch.inputs, *map(jnp.tanh, states)]
        gradients = [layer.weight for layer in result.gradient.layers]
    else:
        before = [jnp.tanh(states[0]), jnp.tanh(states[0])]
        gradients = [result.gradient.recurrent, result.gradient.output.weight]
    signals = [c * (1 - jnp.tanh(phi) ** 2) for c, phi in zip(controls, states, strict=True)]
    for gradient, post, pre in zip(gradients, [*signals, u], before, strict=True):
        close(gradient, -post.T @ pre / BATCH)


def test_a_system_without_an_activation_learns_from_the_control_itself():
    system = function_system()
    point = lc.Point(system.zero_state(), {"fast": jnp.ones(3), "slow": jnp.ones(4)}, jnp.ones(3))
    signal = lc.LinearFeedback().teaching_control(system, point)
    assert np.array_equal(flat(signal), np.ones(7))
    weights = lc.LinearFeedback().init(system, key=KEY)
    assert {name: leaf.shape for name, leaf in weights.items()} == {"fast": (3, 3), "slow": (4, 3)}


def test_the_correlation_is_that_of_the_simulated_dynamics():
    """The three equations and the sum, step by step in NumPy with the same draws."""
    system, x, target, leak = recurrent(), inputs(2), vectors(2), 0.8
    noise = lc.NoiseRun(40, None, 0.03, 0.05, 0.2, 0.7, 0.02)
    weights = jnp.array([0.7, 0.1])
    Q = 0.5 * np.asarray(lc.LinearFeedback().init(system, key=KEY))
    drives = jax.vmap(system.drive)(x)
    states, u = jax.random.normal(KEY, (2, 5)), jax.random.normal(KEY, (2, SIZE))
    points = lc.Point(states, u @ Q.T, u)
    problem = lc.ControlProblem(system, SQUARED, leak)
    correlation = jax.jit(
        lambda key: noise_correlation(
            problem,
            LinearPath(jnp.asarray(Q)),
            lc.Sample(drives, target),
            points,
            weights,
            noise,
            key=key,
        )
    )(KEY)

    W, D, d = (np.asarray(p) for p in (system.recurrent, system.output.weight, system.output.bias))
    phi, now, rest = np.asarray(states), np.asarray(u), np.asarray(u)
    epsilon, total = np.zeros((2, 5)), np.zeros((5, SIZE))
    for key in jax.random.split(KEY, noise.steps):
        xi = np.asarray(jax.random.normal(key, (2, 5)))
        push = now @ Q.T + 0.02 * epsilon
        slope = np.tanh(phi) @ D.T + d + now - np.asarray(target)
        for b in range(2):
            moved = push[b] - Q @ rest[b]
            total += float(weights[b]) * np.outer(moved, now[b] - rest[b])
        field = np.tanh(phi) @ W.T + np.asarray(drives) - phi
        epsilon = epsilon + 0.03 / 0.2 * (-epsilon + xi / math.sqrt(0.03))
        phi = phi + 0.03 / 0.05 * (field + push)
        now = now + 0.03 / 0.7 * (-slope - leak * now)
    np.testing.assert_allclose(correlation, total / (40 * 0.02**2), rtol=1e-9, atol=1e-9)


def fixed_sample(make, copies=32):
    x, target = inputs(1), vectors(1)
    return make(factor=1.0), lc.Batch(jnp.tile(x, (copies, 1)), jnp.tile(target, (copies, 1)))


@pytest.mark.parametrize("make", [feedforward, pytest.param(recurrent, marks=pytest.mark.slow)])
def test_feedback_of_one_sample_learns_the_row_space_of_its_jacobian(make):
    # Copies of the one sample, each with noise of its own.
    system, batch = fixed_sample(make)
    noise = lc.NoiseRun(steps=200, decay=0.1)
    controller = lc.LinearFeedback(lc.Tolerance(1e-8), MIXED, noise)
    rule = lc.LeastControl(controller, 1.0, loss=SQUARED)

    def step(weights, index):
        result = rule(system, weights, batch, key=jax.random.fold_in(KEY, index))
        rate = 0.5 / (1 + index / 10)
        moved = jax.tree.map(lambda w, g: w - rate * g, weights, result.feedback_gradient)
        return moved, result.solution.value.state

    first = rule.init(system, key=KEY)
    last, states = jax.jit(lambda w: jax.lax.scan(step, w, jnp.arange(200)))(first)
    state = jax.tree.map(lambda leaf: leaf[-1, :1], states)
    drive = jax.vmap(system.drive)(batch.inputs[:1])
    before, after = (column_space_condition(system, drive, state, w)[0] for w in (first, last))
    assert before < 0.9
    assert after >= 0.99
    # Not the row space alone: proposition S10's directions in it, up to the output's own gains.
    rows = sensitivity(system, drive[0], one_of(state, 0))
    cosine = np.sum(rows.T * matrix(last)) / np.linalg.norm(rows) / np.linalg.norm(matrix(last))
    assert cosine > 0.9


def matrix(weights):
    return np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(weights)])


def sensitivity(system, drive, state):
    """Returns −∂_φh (∂_φf)⁻¹ from dense Jacobians."""
    structure = jax.tree.structure(state)
    sizes = np.cumsum([leaf.size for leaf in jax.tree.leaves(state)])[:-1]
    rebuilt = lambda z: jax.tree.unflatten(structure, jnp.split(z, sizes))  # noqa: E731
    z = jnp.concatenate(jax.tree.leaves(state))
    field = lambda z: jnp.concatenate(  # noqa: E731
        jax.tree.leaves(system.vector_field(rebuilt(z), drive))
    )
    readout = lambda z: system.readout(rebuilt(z))  # noqa: E731
    return -np.asarray(jax.jacobian(readout)(z) @ jnp.linalg.inv(jax.jacobian(field)(z)))


# --- the diagnostic


@pytest.mark.slow
@pytest.mark.parametrize("make", [feedforward, recurrent, function_system])
def test_the_column_space_condition_is_the_share_in_the_row_space(make):
    system, x = make(), inputs(2)
    drives = jax.vmap(system.drive)(x)
    zero = system.zero_state()
    states = jax.tree.map(lambda leaf: jax.random.normal(KEY, (2, *leaf.shape)), zero)
    rows = sensitivity(system, drives[0], one_of(states, 0))
    mixing = np.asarray(jax.random.normal(KEY, (SIZE, SIZE)))
    basis = np.linalg.svd(rows)[2]
    within, without = rows.T @ mixing, basis[SIZE:].T @ np.ones((rows.shape[1] - SIZE, SIZE))
    within, without = (part / np.linalg.norm(part) for part in (within, without))
    sizes = np.cumsum([leaf.size for leaf in jax.tree.leaves(zero)])[:-1]
    measure = jax.jit(
        lambda q: column_space_condition(
            system,
            drives,
            states,
            jax.tree.unflatten(jax.tree.structure(zero), jnp.split(q, sizes)),
        )
    )
    for share in (0.0, 0.6, 1.0):
        q = share * within + math.sqrt(1 - share**2) * without
        measured = measure(jnp.asarray(q))
        assert measured[0] == pytest.approx(share, abs=1e-7)
        assert 0 <= measured[1] <= 1 + 1e-12
    assert 0.05 < measure(jnp.asarray(within))[1] < 0.999


# --- in a batch, and in training


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mirror", "linear"])
def test_a_sample_that_is_no_number_teaches_the_feedback_nothing(kind):
    system, x, targets = feedforward(), inputs(), vectors()
    # The sample that is broken is one of those without noise, so that the draws are the same.
    noise = lc.NoiseRun(20, samples=2)
    rule = MIRROR
    if kind == "linear":
        rule = lc.LeastControl(lc.LinearFeedback(TIGHT, MIXED, noise), LEAK, loss=SQUARED)
    feedback = rule.init(system, key=KEY)
    others = jnp.array([0, 1, 3, 4, 5])
    clean = with_feedback(rule, system, feedback, lc.Batch(x[others], targets[others]), KEY)
    broken = with_feedback(rule, system, feedback, lc.Batch(x.at[2].set(jnp.nan), targets), KEY)
    assert not lc.solved(broken.solution)[2]
    close(broken.feedback_gradient, clean.feedback_gradient)
    if kind == "linear":
        spoilt = with_feedback(rule, system, feedback, lc.Batch(x.at[0].set(jnp.nan), targets), KEY)
        assert np.isfinite(flat(spoilt.feedback_gradient)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bar"), [("feedforward", 0.85), ("rnn", 0.8)])
def test_linear_feedback_learns_the_digits(kind, bar):
    with jax.enable_x64(False):
        splits = data.load("digits")
        key = jax.random.key(0)
        system = (
            lc.Feedforward(64, (64,), 10, key=key)
            if kind == "feedforward"
            else lc.EquilibriumRNN(64, 32, 10, key=key)
        )
        noise = lc.NoiseRun(steps=50, samples=4)
        rule = lc.LeastControl(lc.LinearFeedback(noise=noise), 6.4)
        config = training.TrainingConfig(2, 32, 1e-2, 1e-3)
        trained = training.train(system, rule, splits.train, splits.validation, config, seed=0)
        first = rule.init(system, key=jax.random.split(jax.random.key(0), 3)[1])
    last = trained.metrics[-1]
    assert last.validation.accuracy > bar
    assert last.converged_fraction > 0.99
    assert np.linalg.norm(flat(trained.feedback) - flat(first)) > 0.1 * np.linalg.norm(flat(first))


# --- what is refused


@pytest.mark.parametrize("rule", [MIRROR, FROZEN], ids=["mirror", "linear"])
def test_feedback_that_is_not_the_systems_is_refused(rule):
    system, batch = feedforward(), batch_of(feedforward)
    with pytest.raises(ValueError, match=r"no feedback weights.*rule\.init\(system, key=key\)"):
        rule(system, None, batch)
    for other in (recurrent(), lc.Feedforward(SIZE, (4, 4), SIZE, key=KEY)):
        with pytest.raises(ValueError, match=r"shapes .* but the system needs .*rule\.init"):
            rule(system, rule.init(other, key=KEY), batch)


def test_noise_needs_a_key():
    system = feedforward()
    rule = lc.LeastControl(lc.LinearFeedback(), 6.4)
    with pytest.raises(ValueError, match=r"needs a key: write .*key=key"):
        eqx.filter_eval_shape(
            lambda: rule(system, rule.init(system, key=KEY), lc.Batch(inputs(), labels()))
        )


def test_a_system_that_hides_its_state_has_no_linear_feedback():
    class Hidden(lc.systems.AbstractSystemWithoutDirectFeedback):
        output_neurons: bool = True

        def drive(self, x):
            return x

        def initial_state(self, drive):
            return drive

        def vector_field(self, state, drive):
            return drive - state

        def readout(self, state):
            return state

        def feedback_parameters(self):
            return lc.systems.all_matrices(self)

    with pytest.raises(ValueError, match=r"Hidden does not say: .* that defines zero_state\(\)"):
        lc.LinearFeedback().init(Hidden(), key=KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, r"`steps` is 4, .*fewer than 5.*write steps=100"),
        ({"samples": 0}, "`samples` is 0.*write samples=8"),
        ({"time_step": 0.05}, "`time_step` is 0.05.*`time_constant` is 0.04: write time_step=0.04"),
        ({"time_step": 0.0}, "`time_step` is 0.0, .*above 0"),
        ({"noise_time_constant": 0.01}, "`noise_time_constant` is 0.01: write"),
        ({"output_time_constant": math.inf}, "`output_time_constant` is inf"),
        ({"time_constant": math.nan}, "`time_constant` is nan"),
        ({"deviation": -0.1}, "`deviation` is -0.1.*write deviation=0.01"),
        ({"decay": -0.1}, "`decay` is -0.1.*write decay=0.01"),
    ],
)
def test_constants_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(lc.NoiseRun(), **change)


def test_a_leak_too_fast_for_the_time_step_is_refused():
    system = feedforward()
    rule = lc.LeastControl(lc.LinearFeedback(), 40.0)
    with pytest.raises(ValueError, match=r"0\.025 with a leak of 40.*output_time_constant=1\.6"):
        eqx.filter_eval_shape(
            lambda: rule(system, rule.init(system, key=KEY), lc.Batch(inputs(), labels()), key=KEY)
        )


def test_a_callback_that_has_no_derivative_is_solved_and_certified():
    weights = np.random.default_rng(0).standard_normal((4, 4)) * 0.3

    def on_the_host(state, x):
        return -state + np.tanh(state) @ weights.T + x

    def field(params, state, x):
        del params
        shape = jax.ShapeDtypeStruct(state.shape, state.dtype)
        return jax.pure_callback(on_the_host, shape, state, x, vmap_method="expand_dims")

    system = lc.FunctionSystem(field, lambda params, state: state[:2], None, jnp.zeros(4))
    with pytest.raises(ValueError, match="JVP"):
        jax.grad(lambda state: system.vector_field(state, jnp.ones(4)).sum())(jnp.zeros(4))
    controller = lc.LinearFeedback(TIGHT, None, None)
    feedback = controller.init(system, key=KEY)
    problem = lc.equilibrium.ControlProblem(system, SQUARED, LEAK)
    drives = np.random.default_rng(1).standard_normal((3, 4))
    targets = jnp.ones((3, 2))
    solution = controller.equilibrium(
        problem, lc.equilibrium.Sample(jnp.asarray(drives), targets), feedback
    )
    assert lc.solved(solution).all()
    state, control, u = (np.asarray(part) for part in solution.value)
    residual = np.linalg.norm(on_the_host(state, drives) + control, axis=1)
    np.testing.assert_allclose(residual, solution.stats.state_residual, atol=1e-15)
    np.testing.assert_allclose(control, u @ np.asarray(feedback).T, atol=1e-9)
    np.testing.assert_allclose(LEAK * u, targets - (state[:, :2] + u), atol=1e-9)
    # A state away from rest is refused from values alone.
    path = controller.path(system, feedback)
    samples = lc.equilibrium.Sample(jnp.asarray(drives), targets)
    away = solution.value._replace(state=solution.value.state + 1e-3)
    moved = lc.equilibrium.certify(
        problem, samples, away, solution.stats.steps, TIGHT, path.missing
    )
    assert not lc.solved(moved).any()
