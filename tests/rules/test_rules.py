"""The rules: their gradients three ways, their locality, their limits, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optimistix as optx
import pytest
from helpers import (
    BATCH,
    KEY,
    SIZE,
    Oracle,
    credit,
    feedforward,
    flat,
    function_system,
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
    timescales,
    timescales_readout,
    vectors,
)

import leastcontrol as lc
from leastcontrol.rules._rule import parameter_gradient

TIGHT = lc.Tolerance(1e-11)
SOFT = lc.CrossEntropy(softness=0.01)
MIXED = lc.FixedPoint(max_steps=500, memory=4)
INVERSION = lc.DynamicInversion(TIGHT, MIXED)
ENERGY = lc.Energy(TIGHT, lc.FixedPoint(max_steps=500))
EXACT = lc.Exact(TIGHT)

gradient_of = eqx.filter_jit(parameter_gradient)


def close(tree, expected, accuracy):
    """Compares flat gradients relative to the expected one's largest entry."""
    tree, expected = flat(tree), np.asarray(expected)
    assert tree.shape == expected.shape
    np.testing.assert_allclose(tree, expected, rtol=0, atol=accuracy * np.abs(expected).max())


# --- theorem 1, three ways

CASES = {
    "feedforward": (feedforward, ENERGY, SOFT, naive_cross_entropy, 0.3),
    "recurrent": (recurrent, INVERSION, SOFT, naive_cross_entropy, 0.2),
    "function": (function_system, EXACT, lc.SquaredError(), naive_squared_error, 1.5),
    "read off": (
        lambda: function_system(output_neurons=False),
        EXACT,
        lc.SquaredError(),
        naive_squared_error,
        2.0,
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        *("feedforward", "function"),
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("recurrent", "read off")),
    ],
)
def test_the_gradient_is_that_of_the_least_energy(case):
    make, controller, loss, naive, leak = CASES[case]
    system, x = make(), inputs(3)
    targets, given = vectors(3), vectors(3)
    if isinstance(loss, lc.CrossEntropy):
        targets, given = soft(labels(3), 0.01), labels(3)
    rule = lc.LeastControl(controller, leak, loss=loss)
    result = credit(rule, system, lc.Batch(x, given))
    # Newton's method from afar may miss a sample; the gradient is that of the others then.
    solved = lc.solved(result.solution)
    assert solved.sum() >= (2 if controller is EXACT else 3)
    oracle = Oracle(system, naive, x[solved], targets[solved], leak)
    np.testing.assert_allclose(result.objective, oracle.value(oracle.theta), rtol=1e-11)
    mine = parameters(result.gradient)
    close(mine, oracle.finite_differences(), 1e-7)
    close(mine, implicit(oracle), 1e-8)
    outputs = jax.vmap(oracle.split, (0, None, 0, 0, None))(
        oracle.z, oracle.theta, oracle.inputs, oracle.targets, leak
    )[2]
    np.testing.assert_allclose(
        result.loss, jnp.mean(jax.vmap(naive)(outputs, oracle.targets)), rtol=1e-9
    )
    assert result.feedback_gradient is None


def test_the_linear_gradient_agrees_with_linear_algebra():
    system, x, targets, leak = recurrent(1, activation=lc.identity), inputs(), vectors(), 0.4
    w, d = np.asarray(system.recurrent), np.asarray(system.output.weight)
    n, m = 5, SIZE
    drives = np.asarray(x) @ np.asarray(system.input.weight).T + np.asarray(system.input.bias)
    jacobian = w - np.eye(n)
    matrix = np.block(
        [
            [jacobian, np.eye(n), np.zeros((n, m))],
            [np.zeros((n, n)), jacobian.T, d.T],
            [d, np.zeros((m, n)), (1 + leak) * np.eye(m)],
        ]
    )
    right = np.concatenate(
        [-drives, np.zeros((BATCH, n)), np.asarray(targets) - np.asarray(system.output.bias)],
        axis=1,
    )
    state, control, u = np.split(np.linalg.solve(matrix, right.T).T, [n, 2 * n], axis=1)
    rule = lc.LeastControl(INVERSION, leak, loss=lc.SquaredError())
    gradient = credit(rule, system, lc.Batch(x, targets)).gradient
    # Δθ = ∂fᵀψ: ψσ(φ)ᵀ, ψxᵀ and ψ, and for the readout uσ(φ)ᵀ and u.
    close(gradient.recurrent, -(control.T @ state / BATCH).ravel(), 1e-8)
    close(gradient.input.weight, -(control.T @ np.asarray(x) / BATCH).ravel(), 1e-8)
    close(gradient.input.bias, -control.mean(0), 1e-8)
    close(gradient.output.weight, -(u.T @ state / BATCH).ravel(), 1e-8)
    close(gradient.output.bias, -u.mean(0), 1e-8)


# --- the limit of weak control


def plain_feedforward_loss(system, x, targets):
    def one(x, target):
        activity = x
        for layer in system.layers[:-1]:
            activity = jnp.tanh(layer.weight @ activity + layer.bias)
        return naive_cross_entropy(
            system.layers[-1].weight @ activity + system.layers[-1].bias, target
        )

    return jnp.mean(jax.vmap(one)(x, targets))


def unrolled_loss(system, x, targets, steps=150, start=jnp.zeros_like):
    def one(x, target):
        drive = system.input.weight @ x + system.input.bias
        step = lambda _, phi: system.recurrent @ jnp.tanh(phi) + drive  # noqa: E731
        phi = jax.lax.fori_loop(0, steps, step, start(drive))
        return naive_cross_entropy(
            system.output.weight @ jnp.tanh(phi) + system.output.bias, target
        )

    return jnp.mean(jax.vmap(one)(x, targets))


def implicit_loss(system, x, targets):
    def one(x, target):
        drive = system.input.weight @ x + system.input.bias
        root = optx.root_find(
            lambda phi, args: args[0] @ jnp.tanh(phi) + args[1] - phi,
            optx.Newton(rtol=1e-13, atol=1e-13),
            jnp.zeros_like(drive),
            (system.recurrent, drive),
        ).value
        return naive_cross_entropy(
            system.output.weight @ jnp.tanh(root) + system.output.bias, target
        )

    return jnp.mean(jax.vmap(one)(x, targets))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "controller", "plain"),
    [(feedforward, ENERGY, plain_feedforward_loss), (recurrent, INVERSION, unrolled_loss)],
)
def test_weak_control_learns_as_backpropagation_up_to_the_strength(make, controller, plain):
    system, x = make(), inputs()
    slope = flat(eqx.filter_jit(eqx.filter_grad(plain))(system, x, soft(labels(), 0.01)))
    strengths = np.array([1e-1, 1e-2, 1e-3, 1e-4])
    errors = []
    for strength in strengths:
        problem = lc.ControlProblem(system, SOFT, jnp.asarray(1 / strength))
        solution = solve(controller, problem, samples(system, x, labels()))
        assert lc.solved(solution).all()
        state, control, u = solution.value
        update = flat(gradient_of(system, x, state, control, u)) / BATCH
        errors.append(np.linalg.norm(update / strength + slope) / np.linalg.norm(slope))
    fit = np.polyfit(np.log(strengths), np.log(errors), 1)[0]
    assert abs(fit - 1) < 0.1
    assert errors[-1] < 1e-3


# --- locality and independence


def garbage(tree):
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), tree)


def test_an_update_is_its_own_control_times_its_own_activity():
    system, x = feedforward(), inputs()
    state = tuple(
        jax.random.normal(jax.random.fold_in(KEY, i), (BATCH, n)) for i, n in [(1, 4), (2, 3)]
    )
    signal = tuple(
        jax.random.normal(jax.random.fold_in(KEY, i), (BATCH, n)) for i, n in [(3, 4), (4, 3)]
    )
    output = vectors()
    gradient = gradient_of(system, x, state, signal, output)
    before = (x, jnp.tanh(state[0]), jnp.tanh(state[1]))
    after = (*signal, output)
    for layer, pre, post in zip(gradient.layers, before, after, strict=True):
        close(layer.weight, (post.T @ pre).ravel(), 1e-14)
        close(layer.bias, post.sum(0), 1e-14)
    # What is not a layer's own may be anything, even no number at all.
    for index, layer in enumerate(gradient.layers):
        signals = [part if i == index else garbage(part) for i, part in enumerate(after)]
        states = tuple(part if i == index - 1 else garbage(part) for i, part in enumerate(state))
        lonely = gradient_of(
            system, x if index == 0 else garbage(x), states, tuple(signals[:2]), signals[2]
        )
        assert jnp.array_equal(lonely.layers[index].weight, layer.weight)
        assert jnp.array_equal(lonely.layers[index].bias, layer.bias)
        others = [other for i, other in enumerate(lonely.layers) if i != index]
        assert all(jnp.isnan(other.weight).all() for other in others)


def test_a_recurrent_update_is_its_own_control_times_its_own_activity():
    system, x = recurrent(), inputs()
    state, signal = jax.random.normal(KEY, (2, BATCH, 5))
    output = vectors()
    gradient = gradient_of(system, x, state, signal, output)
    close(gradient.recurrent, (signal.T @ jnp.tanh(state)).ravel(), 1e-14)
    close(gradient.input.weight, (signal.T @ x).ravel(), 1e-14)
    close(gradient.output.weight, (output.T @ jnp.tanh(state)).ravel(), 1e-14)
    # One synapse: every other neuron's control and activity is no number.
    post, pre = 3, 1
    lonely = gradient_of(
        system,
        garbage(x),
        garbage(state).at[:, pre].set(state[:, pre]),
        garbage(signal).at[:, post].set(signal[:, post]),
        garbage(output),
    )
    np.testing.assert_allclose(
        lonely.recurrent[post, pre], gradient.recurrent[post, pre], rtol=1e-14
    )
    finite = jnp.isfinite(lonely.recurrent)
    assert finite.sum() == 1


def test_a_batch_is_the_mean_of_its_samples():
    system, x = feedforward(), inputs()
    rule = lc.LeastControl(ENERGY, 0.5, loss=lc.SquaredError())
    whole = credit(rule, system, lc.Batch(x, vectors()))
    alone = [
        credit(rule, system, lc.Batch(x[i : i + 1], vectors()[i : i + 1])) for i in range(BATCH)
    ]
    close(whole.gradient, np.mean([flat(result.gradient) for result in alone], axis=0), 1e-9)
    np.testing.assert_allclose(
        whole.objective, np.mean([result.objective for result in alone]), rtol=1e-9
    )
    np.testing.assert_allclose(whole.loss, np.mean([result.loss for result in alone]), rtol=1e-8)


@pytest.mark.parametrize("where", ["inputs", "targets"])
@pytest.mark.parametrize(
    "rule",
    [
        lc.LeastControl(ENERGY, 0.5, loss=lc.SquaredError()),
        lc.RecurrentBackpropagation(lc.SquaredError(), TIGHT),
    ],
    ids=["least control", "recurrent backpropagation"],
)
def test_a_sample_that_is_no_number_is_left_out(rule, where):
    system, x, targets = feedforward(), inputs(), vectors()
    if isinstance(rule, lc.RecurrentBackpropagation):
        system = recurrent()
    others = jnp.array([0, 1, 3, 4, 5])
    clean = credit(rule, system, lc.Batch(x[others], targets[others]))
    x, targets = (
        (x.at[2].set(jnp.nan), targets) if where == "inputs" else (x, targets.at[2].set(jnp.nan))
    )
    broken = credit(rule, system, lc.Batch(x, targets))
    assert lc.solved(broken.solution).tolist() == [True, True, False, True, True, True]
    close(broken.gradient, flat(clean.gradient), 1e-9)
    np.testing.assert_allclose(broken.objective, clean.objective, rtol=1e-9)
    np.testing.assert_allclose(broken.loss, clean.loss, rtol=1e-8)


# --- samples that are not solved


def hurried(system, batch):
    """Returns a controller that stops before about half of the samples are solved."""
    full = credit(lc.LeastControl(INVERSION, 0.5, loss=lc.SquaredError()), system, batch)
    steps = int(np.sort(full.solution.stats.steps)[2])
    return lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=steps, memory=4))


def test_unsolved_samples_are_dropped_or_kept_as_asked():
    system, batch = feedforward(), lc.Batch(inputs(), vectors())
    few = hurried(system, batch)
    dropping = lc.LeastControl(few, 0.5, loss=lc.SquaredError())
    keeping = lc.LeastControl(few, 0.5, loss=lc.SquaredError(), unsolved=lc.Keep())
    dropped, kept = credit(dropping, system, batch), credit(keeping, system, batch)
    solved = lc.solved(dropped.solution)
    assert 0 < solved.sum() < BATCH
    assert jnp.array_equal(solved, lc.solved(kept.solution))
    for result, counted in ((dropped, solved), (kept, jnp.ones(BATCH, bool))):
        state, control, u = jax.tree.map(lambda leaf, c=counted: leaf[c], result.solution.value)
        gradient = gradient_of(system, batch.inputs[counted], state, control, u)
        close(result.gradient, -flat(gradient) / counted.sum(), 1e-12)
        output = jax.vmap(system.readout)(state) + u
        losses = 0.5 * jnp.sum((output - batch.targets[counted]) ** 2, axis=1)
        squares = 0.5 * sum(jnp.sum(leaf**2, axis=1) for leaf in (*control, u))
        np.testing.assert_allclose(result.loss, losses.mean(), rtol=1e-12)
        np.testing.assert_allclose(result.objective, (squares + losses / 0.5).mean(), rtol=1e-12)
    # Where none is solved nothing changes.
    none = credit(dropping, system, batch._replace(targets=garbage(batch.targets)))
    assert not lc.solved(none.solution).any()
    assert not np.any(flat(none.gradient))


def test_an_unsolved_sample_raises_where_that_is_asked_for():
    system, batch = feedforward(), lc.Batch(inputs(), vectors())
    raising = lambda few: lc.LeastControl(  # noqa: E731
        lc.Energy(TIGHT, lc.FixedPoint(500 if not few else 5)),
        0.5,
        loss=lc.SquaredError(),
        unsolved=lc.RaiseError(),
    )
    result = credit(raising(False), system, batch)
    reference = credit(lc.LeastControl(ENERGY, 0.5, loss=lc.SquaredError()), system, batch)
    close(result.gradient, flat(reference.gradient), 1e-12)
    with pytest.raises(Exception, match="equilibrium was not found"):
        jax.block_until_ready(credit(raising(True), system, batch))


def test_backpropagation_is_the_gradient_of_a_plain_network():
    system, x = feedforward(), inputs()
    result = credit(lc.Backpropagation(SOFT), system, lc.Batch(x, labels()))
    loss, slope = eqx.filter_jit(eqx.filter_value_and_grad(plain_feedforward_loss))(
        system, x, soft(labels(), 0.01)
    )
    close(result.gradient, flat(slope), 1e-12)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(result.objective, loss, rtol=1e-12)
    assert lc.solved(result.solution).all()


def test_recurrent_backpropagation_is_the_gradient_at_the_free_equilibrium():
    system, x = recurrent(), inputs()
    result = credit(lc.RecurrentBackpropagation(SOFT, TIGHT), system, lc.Batch(x, labels()))
    assert lc.solved(result.solution).all()
    for loss_of in (unrolled_loss, implicit_loss):
        loss, slope = eqx.filter_jit(eqx.filter_value_and_grad(loss_of))(
            system, x, soft(labels(), 0.01)
        )
        close(result.gradient, flat(slope), 1e-9)
        np.testing.assert_allclose(result.loss, loss, rtol=1e-9)


def swinging():
    """A recurrent network whose state turns about its rest points: W has eigenvalues −0.6 ± 1.8i.

    The rest points are stable in continuous time, but not under unit steps.
    """
    turn = jnp.asarray([[-0.6, -1.8], [1.8, -0.6]])
    block = jax.scipy.linalg.block_diag(turn, turn, jnp.asarray([[0.3]]))
    return eqx.tree_at(lambda s: s.recurrent, recurrent(), block)


def test_recurrent_backpropagation_solves_where_unit_steps_swing_apart():
    system, batch = swinging(), lc.Batch(inputs(), labels())
    plain = lc.RecurrentBackpropagation(SOFT, TIGHT, lc.FixedPoint(200))
    assert not lc.solved(credit(plain, system, batch).solution).all()
    result = credit(lc.RecurrentBackpropagation(SOFT, TIGHT), system, batch)
    assert lc.solved(result.solution).all()
    slope = eqx.filter_jit(eqx.filter_grad(implicit_loss))(system, inputs(), soft(labels(), 0.01))
    close(result.gradient, flat(slope), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("controller", [lc.DynamicInversion, lc.Energy, lc.Automatic])
def test_least_control_solves_where_unit_steps_swing_apart(controller):
    system, batch = swinging(), lc.Batch(inputs(), labels())
    # Under little control the objective is about the loss over the leak.
    leak = 1e5
    result = credit(lc.LeastControl(controller(TIGHT), leak, loss=SOFT), system, batch)
    assert lc.solved(result.solution).all()
    slope = eqx.filter_jit(eqx.filter_grad(implicit_loss))(system, inputs(), soft(labels(), 0.01))
    close(leak * flat(result.gradient), flat(slope), 1e-4)


def test_backpropagation_through_time_differentiates_its_own_steps():
    system, x = recurrent(), inputs()
    batch = lc.Batch(x, labels())
    # Three steps are differentiated exactly, and said not to be enough for a rest point.
    short = credit(lc.BackpropagationThroughTime(SOFT, 3, TIGHT, lc.Keep()), system, batch)
    of_three = lambda system, x, targets: unrolled_loss(system, x, targets, 3)  # noqa: E731
    loss, slope = eqx.filter_value_and_grad(of_three)(system, x, soft(labels(), 0.01))
    close(short.gradient, flat(slope), 1e-12)
    np.testing.assert_allclose(short.loss, loss, rtol=1e-12)
    assert not lc.solved(short.solution).any()
    dropped = credit(lc.BackpropagationThroughTime(SOFT, 3, TIGHT), system, batch)
    assert not np.any(flat(dropped.gradient))
    # Many are what implicit differentiation does at the rest point.
    long = credit(lc.BackpropagationThroughTime(SOFT, 150, TIGHT), system, batch)
    assert lc.solved(long.solution).all()
    rest = credit(lc.RecurrentBackpropagation(SOFT, TIGHT), system, batch)
    close(long.gradient, flat(rest.gradient), 1e-8)
    with pytest.raises(ValueError, match=r"write BackpropagationThroughTime\(steps=30\)"):
        lc.BackpropagationThroughTime(steps=0)


def test_backpropagation_through_time_differentiates_the_first_state():
    class LearnedStart(lc.EquilibriumRNN):
        """A recurrent network whose state starts at its drive, which is learned."""

        def initial_state(self, drive):
            return jnp.tanh(drive)

    system, batch = LearnedStart(SIZE, 5, SIZE, key=KEY), lc.Batch(inputs(), labels())
    result = credit(lc.BackpropagationThroughTime(SOFT, 3, TIGHT, lc.Keep()), system, batch)
    of_three = lambda system, x, t: unrolled_loss(system, x, t, 3, jnp.tanh)  # noqa: E731
    slope = eqx.filter_grad(of_three)(system, inputs(), soft(labels(), 0.01))
    close(result.gradient, flat(slope), 1e-12)


def test_recurrent_backpropagation_counts_a_sample_only_if_both_equations_are_solved():
    # The fixed point of φ = Wσ(φ) + … is easy where σ saturates; a few steps solve neither.
    system, batch = recurrent(), lc.Batch(inputs(), labels())
    full = credit(lc.RecurrentBackpropagation(SOFT, TIGHT), system, batch)
    short = credit(
        lc.RecurrentBackpropagation(SOFT, TIGHT, lc.FixedPoint(8, memory=4)), system, batch
    )
    assert not lc.solved(short.solution).any()
    assert not np.any(flat(short.gradient))
    assert jnp.all(short.solution.stats.steps == 16)
    # The free equilibrium is found at once, the adjoint is not.
    linear = eqx.tree_at(
        lambda s: (s.input.weight, s.input.bias), system, (jnp.zeros((5, SIZE)), jnp.zeros(5))
    )
    result = credit(
        lc.RecurrentBackpropagation(SOFT, TIGHT, lc.FixedPoint(8, memory=4)), linear, batch
    )
    assert jnp.all(result.solution.stats.state_residual == 0)
    assert not lc.solved(result.solution).any()
    assert lc.solved(full.solution).all()


def test_recurrent_backpropagation_in_single_precision():
    with jax.enable_x64(False):
        keys = jax.random.split(KEY, 3)
        system = lc.EquilibriumRNN(20, 64, 10, key=keys[0])
        x = jax.random.normal(keys[1], (16, 20))
        batch = lc.Batch(x, jax.random.randint(keys[2], (16,), 0, 10))
        result = credit(lc.RecurrentBackpropagation(), system, batch)
        assert lc.solved(result.solution).all()
        assert {leaf.dtype for leaf in jax.tree.leaves(result.gradient)} == {jnp.dtype("float32")}
        slope = eqx.filter_jit(eqx.filter_grad(unrolled_loss))(
            system, x, jax.nn.one_hot(batch.targets, 10)
        )
        close(result.gradient, flat(slope), 1e-4)


def test_rules_have_no_feedback_to_learn():
    for rule in (lc.LeastControl(EXACT, 1.0), lc.Backpropagation(), lc.RecurrentBackpropagation()):
        assert rule.init(recurrent(), key=KEY) is None


# --- your own f


@pytest.mark.slow
def test_least_control_of_your_own_functions():
    system, x, targets = function_system(), inputs(3), vectors(3)
    estimate = lc.least_control(
        timescales,
        timescales_readout,
        lc.SquaredError(),
        start=system.start.arrays(),
        leak=1.0,
        controller=lc.Exact(TIGHT),
    )
    value, gradient, solution = estimate(system.params, x, targets)
    solved = lc.solved(solution)
    assert solved.sum() >= 2
    assert jax.tree.structure(gradient) == jax.tree.structure(system.params)
    oracle = Oracle(system, naive_squared_error, x[solved], targets[solved], 1.0)
    np.testing.assert_allclose(value, oracle.value(oracle.theta), rtol=1e-11)
    close(gradient, oracle.finite_differences(), 1e-7)
    # A step against it lowers the value by what it promises.
    step = 1e-4
    moved = jax.tree.map(lambda p, g: p - step * g, system.params, gradient)
    lower = estimate(moved, x, targets)[0]
    np.testing.assert_allclose((value - lower) / step, np.sum(flat(gradient) ** 2), rtol=1e-2)


# --- refusals


@pytest.fixture
def unchecked_types(monkeypatch):
    """What a user meets who has no run-time type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


RULES = {
    "least control": lc.LeastControl(ENERGY, 1.0),
    "backpropagation": lc.Backpropagation(),
    "recurrent backpropagation": lc.RecurrentBackpropagation(),
}
BAD_BATCHES = {
    "sizes": (inputs(4), labels(3), r"\(4,\).*\(3,\).*arrays with the same first axis"),
    "no batch": (inputs()[0], labels()[0], "same first axis"),
    "width": (jnp.ones((4, 7)), labels(4), r"cannot take inputs of shape float64\[7\]"),
    "labels": (inputs(4), labels(4) + 2, "labels run from 2 to 4.*3 outputs"),
    "label shape": (inputs(4), labels(4)[:, None], "one label for each sample"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
@pytest.mark.parametrize("name", RULES)
def test_a_batch_that_does_not_fit_is_refused(name, case, unchecked_types):
    x, y, message = BAD_BATCHES[case]
    system = feedforward()
    with pytest.raises(ValueError, match=message):
        RULES[name](system, None, lc.Batch(x, y))


def test_hard_targets_without_leak_are_refused():
    rule = lc.LeastControl(ENERGY, 0.0)
    with pytest.raises(ValueError, match="infinite control"):
        rule(feedforward(), None, lc.Batch(inputs(), labels()))


def test_no_leak_without_output_neurons_is_refused():
    rule = lc.LeastControl(ENERGY, 0.0, loss=lc.SquaredError())
    with pytest.raises(ValueError, match=r"no output neurons.*or a leak above 0"):
        rule(function_system(output_neurons=False), None, lc.Batch(inputs(), vectors()))


def test_backpropagation_needs_an_order():
    message = r"EquilibriumRNN is not one: write RecurrentBackpropagation\(\)"
    with pytest.raises(ValueError, match=message):
        lc.Backpropagation()(recurrent(), None, lc.Batch(inputs(), labels()))


OWN = function_system()


@pytest.mark.parametrize(
    ("field", "readout", "targets", "message"),
    [
        (lambda p, s, x: s["fast"], timescales_readout, vectors(), "structure"),
        (
            lambda p, s, x: {"fast": s["fast"][:2], "slow": s["slow"]},
            timescales_readout,
            vectors(),
            r"\['fast'\]",
        ),
        (
            lambda p, s, x: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), s),
            timescales_readout,
            vectors(),
            "float32",
        ),
        (timescales, lambda p, s: jnp.sum(s["fast"]), vectors(), "h returned"),
        (timescales, timescales_readout, vectors()[:, :2], r"\[6, 2\].*squared error"),
        (timescales, timescales_readout, vectors(5), "same first axis"),
    ],
    ids=["structure", "shape", "dtype", "readout", "target", "batch"],
)
def test_least_control_refuses_what_does_not_fit(field, readout, targets, message, unchecked_types):
    estimate = lc.least_control(
        field, readout, lc.SquaredError(), start=OWN.start.arrays(), leak=1.0
    )
    with pytest.raises(ValueError, match=message):
        estimate(OWN.params, inputs(), targets)


def test_least_control_refuses_labels_out_of_range():
    few = lc.DynamicInversion(solver=lc.FixedPoint(1))
    estimate = lc.least_control(
        timescales, timescales_readout, SOFT, start=OWN.start.arrays(), leak=1.0, controller=few
    )
    with pytest.raises(ValueError, match=r"labels run from 2 to 4.*3 outputs"):
        estimate(OWN.params, inputs(), labels() + 2)


@pytest.mark.parametrize("leak", [-1.0, float("nan"), float("inf"), True])
def test_least_control_refuses_a_leak_that_is_none(leak, unchecked_types):
    with pytest.raises(ValueError, match="a leak α is a finite number of at least 0"):
        lc.least_control(timescales, timescales_readout, SOFT, start=OWN.start.arrays(), leak=leak)
