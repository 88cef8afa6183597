"""The controllers: all end at the minimum of F, sample by sample, or say that they did not."""

import math

import diffrax
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from helpers import (
    BATCH,
    KEY,
    SIZE,
    Oracle,
    feedforward,
    flat,
    function_system,
    inputs,
    labels,
    naive_cross_entropy,
    naive_squared_error,
    one_of,
    recurrent,
    samples,
    soft,
    solve,
    stronger,
    vectors,
)

import leastcontrol as lc
from leastcontrol.controllers import as_output_control
from leastcontrol.equilibrium import RESULTS, EnergyProblem, OrderedCoordinates, certify

TIGHT = lc.Tolerance(1e-10)
SOFT = lc.CrossEntropy(softness=0.01)
LONG = lc.FixedPoint(max_steps=500)
INVERSION = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=500, memory=4))
ENERGY = lc.Energy(TIGHT, LONG)
EXACT = lc.Exact(TIGHT)


def equilibrium(controller, system, loss, leak, x, targets):
    problem = lc.ControlProblem(system, loss, jnp.asarray(leak))
    return solve(controller, problem, samples(system, x, targets))


def points(solution):
    """Returns φ, ψ and u of every sample, flat."""
    rows = lambda tree: np.stack([flat(one_of(tree, i)) for i in range(len(solution.stats.error))])  # noqa: E731
    return tuple(rows(part) for part in solution.value)


def distance(solution, expected):
    """Returns each sample's largest distance in φ, ψ and u, relative to their sizes."""
    parts = [
        np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
        for a, b in zip(points(solution), expected, strict=True)
    ]
    return np.max(parts, axis=0)


@pytest.mark.parametrize(
    ("make", "controllers"),
    [(feedforward, (INVERSION, ENERGY)), (recurrent, (INVERSION, ENERGY))],
)
def test_every_road_ends_at_the_minimum_of_the_energy(make, controllers):
    system, x = make(), inputs()
    oracle = Oracle(system, naive_cross_entropy, x, soft(labels(), 0.01), 1.0)
    for leak in (0.03, 0.3, 1.0, 10.0):
        expected = oracle.at(leak).points()
        for controller in controllers:
            solution = equilibrium(controller, system, SOFT, leak, x, labels())
            solved = np.asarray(lc.solved(solution))
            # The descent is monotone and gets there; inversion may not, under strong control.
            assert solved.all() or (controller is INVERSION and leak < 0.3 and solved.sum() >= 4)
            assert distance(solution, expected)[solved].max() < 1e-7, (leak, controller)


@pytest.mark.parametrize(
    ("make", "controllers"),
    [(feedforward, (INVERSION, ENERGY)), (recurrent, (INVERSION, ENERGY))],
)
def test_without_leak_they_meet_at_the_soft_target(make, controllers):
    system, x = make(), inputs()
    inversion, energy = (
        equilibrium(controller, system, SOFT, 0.0, x, labels()) for controller in controllers
    )
    assert lc.solved(energy).all()
    state, _, u = energy.value
    output = jax.vmap(system.readout)(state) + u
    np.testing.assert_allclose(jax.nn.softmax(output), soft(labels(), 0.01), rtol=1e-6)
    solved = np.asarray(lc.solved(inversion))
    assert solved.sum() >= 4
    assert distance(inversion, points(energy))[solved].max() < 1e-7


@pytest.mark.slow
def test_newtons_road_ends_there_too_under_cross_entropy():
    system, x = recurrent(), inputs()
    oracle = Oracle(system, naive_cross_entropy, x, soft(labels(), 0.01), 1.0)
    for leak in (0.03, 0.3, 10.0):
        solution = equilibrium(EXACT, system, SOFT, leak, x, labels())
        solved = np.asarray(lc.solved(solution))
        assert solved.sum() >= (6 if leak > 0.1 else 4)
        assert distance(solution, oracle.at(leak).points())[solved].max() < 1e-7
    without = equilibrium(EXACT, system, SOFT, 0.0, x, labels())
    inverted = equilibrium(INVERSION, system, SOFT, 0.0, x, labels())
    solved = np.asarray(lc.solved(without) & lc.solved(inverted))
    assert solved.sum() >= 3
    assert distance(without, points(inverted))[solved].max() < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("make", [recurrent, function_system])
def test_newtons_road_ends_there_too(make):
    system, x, targets = make(), inputs(), vectors()
    oracle = Oracle(system, naive_squared_error, x, targets, 1.0)
    for leak in (1.0, 4.0):
        expected = oracle.at(leak).points()
        exact = equilibrium(EXACT, system, lc.SquaredError(), leak, x, targets)
        solved = np.asarray(lc.solved(exact))
        assert solved.sum() >= 4
        assert distance(exact, expected)[solved].max() < 1e-7


def test_a_step_too_long_for_f_is_said_not_to_converge():
    # The fast population turns round four times what is missing, at every unit step.
    system = function_system()
    plain = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=20))
    solution = equilibrium(plain, system, lc.SquaredError(), 1.0, inputs(), vectors())
    assert not lc.solved(solution).any()
    assert jnp.all(solution.result == lc.RESULTS.not_at_rest)


def linear_feedforward(system, x, target, leak):
    """Returns φ, ψ and u of a linear network of two hidden layers by linear algebra."""
    (w1, b1), (w2, b2), (w3, b3) = [
        (np.asarray(layer.weight), np.asarray(layer.bias)) for layer in system.layers
    ]
    n1, n2, m = len(b1), len(b2), len(b3)
    n = n1 + n2
    jacobian = -np.eye(n)
    jacobian[n1:, :n1] = w2
    readout = np.concatenate([np.zeros((m, n1)), w3], axis=1)
    offset = np.concatenate([w1 @ x + b1, b2])
    matrix = np.block(
        [
            [jacobian, np.eye(n), np.zeros((n, m))],
            [np.zeros((n, n)), jacobian.T, readout.T],
            [readout, np.zeros((m, n)), (1 + leak) * np.eye(m)],
        ]
    )
    right = np.concatenate([-offset, np.zeros(n), target - b3])
    return np.split(np.linalg.solve(matrix, right), [n, 2 * n])


@pytest.mark.parametrize("leak", [0.0, 0.2])
@pytest.mark.parametrize("controller", [lc.DynamicInversion(TIGHT, LONG), ENERGY])
def test_a_linear_network_agrees_with_linear_algebra(controller, leak):
    system, x, targets = feedforward(2, activation=lc.identity), inputs(), vectors()
    solution = equilibrium(controller, system, lc.SquaredError(), leak, x, targets)
    assert lc.solved(solution).all()
    expected = [
        linear_feedforward(system, *map(np.asarray, sample), leak)
        for sample in zip(x, targets, strict=True)
    ]
    expected = [np.stack(part) for part in zip(*expected, strict=True)]
    assert distance(solution, expected).max() < 1e-8


@pytest.mark.parametrize(
    ("make", "controller"), [(feedforward, INVERSION), (feedforward, ENERGY), (recurrent, EXACT)]
)
def test_a_network_that_fits_needs_no_control(make, controller):
    system, x = make(), inputs()
    free = lc.free_equilibrium(system, jax.vmap(system.drive)(x), tolerance=lc.Tolerance(1e-14))
    fitting = jax.vmap(system.readout)(free.value)
    targets = fitting.at[0].add(0.5)
    solution = equilibrium(controller, system, lc.SquaredError(), 0.2, x, targets)
    assert lc.solved(solution).all()
    assert solution.stats.control_norm[0] > 0.05
    assert solution.stats.control_norm[1:].max() < 1e-12


def test_the_energy_rises_with_the_strength_up_to_the_least_control():
    system, x = feedforward(), inputs()
    entropy = naive_cross_entropy(jnp.log(soft(labels(), 0.01)[0]), soft(labels(), 0.01)[0])

    def energies(leak):
        solution = equilibrium(ENERGY, system, SOFT, leak, x, labels())
        assert lc.solved(solution).all()
        state, control, u = solution.value
        output = jax.vmap(system.readout)(state) + u
        losses = jax.vmap(naive_cross_entropy)(output, soft(labels(), 0.01)) - entropy
        square = sum(jnp.sum(leaf**2, axis=1) for leaf in (*control, u)) / 2
        return np.asarray(square + (losses / leak if leak else 0))

    rising = np.stack([energies(leak) for leak in (100.0, 10.0, 1.0, 0.1, 0.03, 0.0)])
    assert np.all(np.diff(rising, axis=0) > 0)


def test_the_descent_of_the_energy_is_monotone():
    system = stronger(feedforward(), 2.0)
    problem = lc.ControlProblem(system, lc.SquaredError(), 0.003)
    iteration = EnergyProblem(problem, OrderedCoordinates(system), TIGHT)
    sample = lc.Sample(system.drive(inputs()[0]), jnp.array([3.0, -3.0, 3.0]))
    step = jax.jit(lambda z: iteration.iterate(sample, z)[0])
    z, energies = iteration.initial(sample), []
    for _ in range(80):
        z = step(z)
        energies.append(float(z.energy))
    energies = np.array(energies)
    assert np.all(np.diff(energies) <= 1e-14 * energies[0])
    # Some trials were refused, most were not.
    refused = np.sum(np.diff(energies) == 0)
    assert energies[-1] < 0.5 * energies[0]
    assert 0 < refused < 60


# --- a sample knows nothing of its batch


def same(first, second):
    """Compares two solutions: how they ended, their steps, and their numbers to rounding."""
    assert jnp.array_equal(first.result == lc.RESULTS.successful, lc.solved(second))
    finite = np.asarray(jnp.isfinite(first.stats.error))
    np.testing.assert_array_equal(finite, np.isfinite(second.stats.error))
    np.testing.assert_array_equal(first.stats.steps, second.stats.steps)
    for a, b in zip(jax.tree.leaves(first.value), jax.tree.leaves(second.value), strict=True):
        np.testing.assert_allclose(a[finite], b[finite], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "controller"),
    [
        pytest.param(feedforward, lc.DynamicInversion(), marks=pytest.mark.slow),
        (recurrent, lc.DynamicInversion(solver=lc.FixedPoint(200))),
        pytest.param(feedforward, lc.Energy(), marks=pytest.mark.slow),
        pytest.param(recurrent, lc.Energy(), marks=pytest.mark.slow),
    ],
)
def test_a_sample_is_solved_alike_in_every_company(make, controller, monkeypatch):
    # Systems as small as these are not divided otherwise.
    monkeypatch.setattr("leastcontrol.equilibrium._driver.SMALLEST_BATCH", 0)
    system = make()
    x, targets = inputs(64), labels(64)
    leak = 2.0
    whole = equilibrium(controller, system, SOFT, leak, x, targets)
    steps = np.sort(whole.stats.steps)
    # The batch of 64 was cut to the hardest 16, and these to the hardest 4.
    assert steps[47] < steps[59] < steps[63]
    order = jnp.asarray(np.random.default_rng(1).permutation(64))
    same(
        equilibrium(controller, system, SOFT, leak, x[order], targets[order]), one_of(whole, order)
    )
    part = jnp.array([63, 0, 3, 9, 21, 40, 50])
    same(equilibrium(controller, system, SOFT, leak, x[part], targets[part]), one_of(whole, part))
    for alone in (jnp.array([3]), jnp.array([10])):
        same(
            equilibrium(controller, system, SOFT, leak, x[alone], targets[alone]),
            one_of(whole, alone),
        )
    # One sample that is not a number spoils nobody.
    broken = equilibrium(controller, system, SOFT, leak, x.at[10].set(jnp.nan), targets)
    assert (broken.result == lc.RESULTS.no_finite_point)[10]
    others = jnp.asarray(np.delete(np.arange(64), 10))
    same(one_of(broken, others), one_of(whole, others))


def test_the_steps_are_bounded_and_what_they_leave_is_said():
    system, x = feedforward(), inputs()
    full = equilibrium(INVERSION, system, SOFT, 0.3, x, labels())
    few = int(np.sort(full.stats.steps)[2])
    short = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=few, memory=4))
    solution = equilibrium(short, system, SOFT, 0.3, x, labels())
    in_time = full.stats.steps <= few
    assert 0 < in_time.sum() < BATCH
    np.testing.assert_array_equal(lc.solved(solution), in_time)
    np.testing.assert_array_equal(solution.stats.steps, jnp.minimum(full.stats.steps, few))
    assert jnp.all((solution.result == lc.RESULTS.not_at_rest)[~in_time])
    assert jnp.all(solution.stats.error[~in_time] > 1)


# --- single precision


def medium(kind):
    keys = jax.random.split(KEY, 3)
    x = jax.random.normal(keys[0], (16, 20))
    y = jax.random.randint(keys[1], (16,), 0, 10)
    if kind == "feedforward":
        return lc.Feedforward(20, (64, 64), 10, key=keys[2]), x, y
    return lc.EquilibriumRNN(20, 64, 10, key=keys[2]), x, y


@pytest.mark.parametrize(
    ("kind", "controller"),
    [
        ("feedforward", lc.DynamicInversion()),
        ("feedforward", lc.Energy()),
        ("recurrent", lc.DynamicInversion()),
        pytest.param("recurrent", lc.Energy(), marks=pytest.mark.slow),
    ],
)
def test_single_precision_reaches_the_default_tolerance(kind, controller):
    with jax.enable_x64(False):
        system, x, y = medium(kind)
        assert x.dtype == jnp.float32
        for leak in (6.4, 0.5):
            solution = equilibrium(controller, system, lc.CrossEntropy(), leak, x, y)
            leaves = jax.tree.leaves((solution.value, solution.stats.error))
            assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
            assert lc.solved(solution).all()
            stats = solution.stats
            # The tolerance, with the floor that rounding sets.
            floor = 16 * np.finfo(np.float32).eps
            norm = jnp.sqrt(
                sum(jnp.sum(s**2, axis=1) for s in jax.tree.leaves(solution.value.state))
            )
            allowed = 1e-5 * stats.control_norm + floor * (norm + stats.control_norm)
            assert jnp.all(stats.state_residual <= allowed)


def test_little_control_is_not_excused_by_the_rounding_of_the_state():
    with jax.enable_x64(False):
        system, x, y = medium("recurrent")
        solution = equilibrium(lc.DynamicInversion(), system, lc.CrossEntropy(), 1e4, x, y)
        assert lc.solved(solution).all()
        stats = solution.stats
        assert stats.control_norm.max() < 1e-3
        share = stats.optimality_residual / stats.control_norm
        assert share.max() <= 1e-5 + 16 * np.finfo(np.float32).eps


def test_a_single_output_of_a_linear_network_is_controlled_by_one_sweep():
    # y = y₀ + (1 + ‖J‖²)u is linear in u: the gain along u is all there is to know, so that the
    # first sweep finds the control and the second finds nothing to change.
    system = lc.Feedforward(3, (5, 4), 1, activation=lc.identity, key=jax.random.key(2))
    x, targets = jax.random.normal(jax.random.key(3), (6, 3)), jnp.linspace(-2.0, 2.0, 6)[:, None]
    solution = equilibrium(lc.DynamicInversion(TIGHT), system, lc.SquaredError(), 0.3, x, targets)
    assert lc.solved(solution).all()
    np.testing.assert_array_equal(solution.stats.steps, 2)
    free = lambda x: system.readout(system.settle(system.drive(x), system.zero_state()))  # noqa: E731
    weights = [layer.weight for layer in system.layers]
    last = weights[2]
    jacobian = [last, last @ weights[1]]
    gain = 1 + sum(float(jnp.sum(block**2)) for block in jacobian)
    expected = (targets - jax.vmap(free)(x)) / (0.3 + gain)
    np.testing.assert_allclose(solution.value.output_control, expected, rtol=1e-9)


@pytest.mark.parametrize("controller", [EXACT, lc.Automatic(TIGHT, lc.FixedPoint(max_steps=2))])
def test_newtons_method_does_not_end_above_the_free_equilibrium(controller):
    # |f| has a minimum beside the initial state, where the equations of a rest point hold and the
    # energy is four hundred times that of the least control, near the root of f.
    def field(state):
        return -0.2 * (state - 2.0) * (state**2 + 0.1)

    system = lc.FunctionSystem(
        lambda params, state, drive: field(state) + 0.0 * drive,
        lambda params, state: state,
        None,
        jnp.zeros(1),
    )
    target, leak = 2.1, 100.0
    solution = equilibrium(
        controller,
        system,
        lc.SquaredError(),
        leak,
        jnp.zeros((1, 1)),
        jnp.full((1, 1), target),
    )
    states = np.linspace(-1.0, 3.0, 400_001)
    # With output neurons, which move the output by u = (t − y)/(1 + α).
    energies = field(states) ** 2 / 2 + (target - states) ** 2 / (2 * (1 + leak))
    assert solution.stats.error[0] <= 1
    np.testing.assert_allclose(
        solution.value.state[0], states[energies.argmin()], atol=states[1] - states[0]
    )


def test_newtons_method_leaves_a_free_equilibrium_that_is_met_to_the_last_digit():
    # f = x − φ is exactly zero there, so that the control does not show its unit of time.
    system = lc.FunctionSystem(
        lambda params, state, x: x - state, lambda params, state: state, None, jnp.zeros(2)
    )
    x, targets, leak = jnp.asarray([[1.0, -2.0]]), jnp.asarray([[3.0, 0.5]]), 0.5
    solution = equilibrium(EXACT, system, lc.SquaredError(), leak, x, targets)
    assert lc.solved(solution).all()
    # With output neurons the energy is ½‖x − φ‖² + ‖t − φ‖²/(2(1 + α)).
    np.testing.assert_allclose(solution.value.state, ((1 + leak) * x + targets) / (2 + leak))


def test_a_rest_point_without_control_is_finite_and_not_solved():
    system = lc.FunctionSystem(
        lambda params, state, x: x - state, lambda params, state: state, None, jnp.zeros(2)
    )
    problem = lc.ControlProblem(system, lc.SquaredError(), jnp.asarray(0.5))
    x, targets = jnp.asarray([[1.0, -2.0]]), jnp.asarray([[3.0, 0.5]])
    sample = samples(system, x, targets)
    # The answer of the output control, with the control itself still zero.
    answer = lc.Point(x, jnp.zeros((1, 2)), (targets - x) / 1.5)
    checked = certify(problem, sample, answer, jnp.zeros(1, int), TIGHT)
    assert (checked.result == RESULTS.not_at_rest).all()
    assert jnp.isfinite(checked.stats.error).all()


@pytest.mark.slow
@pytest.mark.parametrize("leak", [0.5, 1000.0])
def test_newtons_method_works_in_single_precision(leak):
    # However little control a sample needs: there is a floor for that.
    with jax.enable_x64(False):
        system, x, targets = recurrent(), inputs(), vectors()
        assert x.dtype == jnp.float32
        solution = equilibrium(lc.Exact(), system, lc.SquaredError(), leak, x, targets)
        assert lc.solved(solution).all()


# --- output control


def test_leaks_are_those_at_rest():
    assert lc.LeakyIntegral(6.4).leak == 6.4
    assert lc.LeakyIntegral(0.0).leak == 0
    assert lc.LeakyIntegral(0.0, proportional_gain=3.0).leak == 0
    # u = k_i u_I − k_p ∇L with 0 = −∇L − αu_I.
    alpha, integral, proportional, slope = 0.7, 2.0, 0.3, 1.9
    u = integral * (-slope / alpha) - proportional * slope
    leak = lc.LeakyIntegral(alpha, integral, proportional).leak
    np.testing.assert_allclose(leak * u + slope, 0, atol=1e-15)
    np.testing.assert_allclose(lc.Proportional(0.25).leak, 4.0)
    assert lc.batch_mean_leak(0.1, 64) == pytest.approx(6.4)
    assert as_output_control(2.5).leak == 2.5
    control = lc.Proportional(2.0)
    assert as_output_control(control) is control


@pytest.mark.slow
@pytest.mark.parametrize(
    "output_control",
    [
        lc.LeakyIntegral(0.5, integral_gain=2.0, proportional_gain=0.3),
        lc.LeakyIntegral(0.0),
        lc.Proportional(1.5),
    ],
)
def test_the_dynamics_come_to_rest_where_the_solver_says(output_control):
    # The controlled dynamics of the papers with the output as a neuron: φ̇ = f + ψ, ẏ = h + u − y,
    # ψ̇ = ∂fᵀψ + ∂hᵀu, and the output controller's own.
    system, x, target = feedforward(), inputs()[0], vectors()[0]
    drive = system.drive(x)

    def derivative(_, now, __):
        state, output, control, internal = now
        slope = output - target
        u = output_control.control(internal, slope)
        read = lambda state: (system.vector_field(state, drive), system.readout(state))  # noqa: E731
        (field, h), pull = jax.vjp(read, state)
        (control_change,) = pull((control, u))
        state_change = jax.tree.map(jnp.add, field, control)
        return (
            state_change,
            h + u - output,
            control_change,
            output_control.derivative(internal, slope),
        )

    state = system.initial_state(drive)
    start = (state, jnp.zeros(SIZE), jax.tree.map(jnp.zeros_like, state), jnp.zeros(SIZE))
    rest = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Tsit5(),
        0.0,
        1000.0,
        0.1,
        start,
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
        max_steps=100000,
    ).ys
    state, output, control, internal = jax.tree.map(lambda leaf: leaf[-1], rest)
    u = output_control.control(internal, output - target)
    solution = equilibrium(
        ENERGY, system, lc.SquaredError(), output_control.leak, inputs(), vectors()
    )
    assert lc.solved(solution)[0]
    expected = tuple(part[0] for part in points(solution))
    for mine, theirs in zip((state, control, u), expected, strict=True):
        np.testing.assert_allclose(flat(mine), theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_continuous_time_settles_where_a_unit_step_cannot_follow():
    # The fast population of this system outruns a unit step.
    system, x, targets = function_system(), inputs(), vectors()
    problem = lc.ControlProblem(system, lc.SquaredError(), jnp.asarray(2.0))
    step = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=100))
    assert not lc.solved(solve(step, problem, samples(system, x, targets))).any()
    solution = solve(lc.ContinuousTime(TIGHT), problem, samples(system, x, targets))
    assert lc.solved(solution).all()
    exact = solve(EXACT, problem, samples(system, x, targets))
    assert distance(solution, points(exact)).max() < 1e-8
    # A budget that is too small is said, and not exceeded.
    short = solve(lc.ContinuousTime(TIGHT, max_steps=7), problem, samples(system, x, targets))
    assert not lc.solved(short).any()
    assert jnp.all(short.stats.steps == 7)


@pytest.mark.parametrize("options", [{"step": 0.0}, {"step": math.inf}, {"max_steps": 0}])
def test_continuous_time_refuses_steps_that_lead_nowhere(options):
    with pytest.raises(ValueError, match=r"write ContinuousTime\(step=0.25, max_steps=1000\)"):
        lc.ContinuousTime(**options)


@pytest.fixture
def unchecked_types(monkeypatch):
    """What a user meets who has no run-time type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf, True, "6.4", None])
@pytest.mark.parametrize(
    "make",
    [
        lc.LeakyIntegral,
        as_output_control,
        lambda alpha: lc.LeastControl(lc.Exact(), alpha),
        lambda alpha: lc.batch_mean_leak(alpha, 64),
    ],
    ids=["leaky integral", "a number", "rule", "batch mean"],
)
def test_a_leak_that_is_none_is_refused(make, alpha, unchecked_types):
    message = r"The leak is .*, but a leak α is a finite number of at least 0: write leak=6.4"
    with pytest.raises(ValueError, match=message):
        make(alpha)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lc.LeakyIntegral(1.0, integral_gain=0.0), "integral_gain=0.0.*above 0.*write"),
        (lambda: lc.LeakyIntegral(1.0, integral_gain=math.nan), "integral_gain=nan"),
        (lambda: lc.LeakyIntegral(1.0, proportional_gain=-1.0), "proportional_gain=-1.0"),
        (lambda: lc.Proportional(0.0), "`beta` is 0.0.*above 0.*write Proportional"),
        (lambda: lc.Proportional(math.inf), "`beta` is inf"),
        (lambda: lc.Proportional(math.nan), "`beta` is nan"),
        (lambda: lc.batch_mean_leak(0.1, 0), "`batch_size` is 0.*at least one sample"),
    ],
)
def test_gains_and_batch_sizes_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_number_of_numpy_is_a_leak(unchecked_types):
    # What np.logspace and friends hand out.
    assert as_output_control(np.float64(0.1)).leak == 0.1
    assert as_output_control(2).leak == 2.0
