"""How rest points are reached: Anderson, the driver, certificates, and honest failure."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from helpers import (
    KEY,
    SIZE,
    feedforward,
    flat,
    function_system,
    inputs,
    one_of,
    recurrent,
    samples,
    vectors,
)

import leastcontrol as lc
from leastcontrol.equilibrium import (
    RESULTS,
    AbstractProblem,
    AdjointSystem,
    FreeProblem,
    Linearised,
    Point,
    certify,
    run,
)
from leastcontrol.equilibrium._free import Controlled
from leastcontrol.equilibrium._small import solve_small

compiled_run = eqx.filter_jit(run)
compiled_certify = eqx.filter_jit(certify)
compiled_free = eqx.filter_jit(lc.free_equilibrium)


class Linear(AbstractProblem):
    """z = Az + b for one sample's A and b; its error is ‖Az + b − z‖ over an accuracy."""

    accuracy: float = 1e-10

    def initial(self, sample):
        return jnp.zeros_like(sample[1])

    def iterate(self, sample, z):
        matrix, offset = sample
        image = matrix @ z + offset
        return image, z, jnp.linalg.norm(image - z) / self.accuracy

    def mixed(self, z):
        return (z[:2], z[2:])

    def with_mixed(self, z, blocks):
        return jnp.concatenate(blocks)


def contractions(batch, size, radius, seed=0):
    """Symmetric matrices with eigenvalues up to ±radius, and offsets."""
    keys = jax.random.split(jax.random.fold_in(KEY, seed), 2)
    basis = jnp.linalg.qr(jax.random.normal(keys[0], (batch, size, size)))[0]
    eigenvalues = jnp.linspace(-radius, radius, size)
    matrices = jnp.einsum("bij,j,bkj->bik", basis, eigenvalues, basis)
    return matrices, jax.random.normal(keys[1], (batch, size))


@pytest.mark.parametrize("size", [1, 4, 9])
def test_elimination_agrees_with_lapack(size):
    root = jax.random.normal(KEY, (size, size))
    matrix, right = root @ root.T + 0.1 * jnp.eye(size), jnp.arange(1.0, size + 1)
    expected = np.linalg.solve(np.asarray(matrix), np.asarray(right))
    np.testing.assert_allclose(jax.jit(solve_small)(matrix, right), expected, rtol=1e-10)


def test_anderson_reaches_the_solution_in_fewer_steps_than_the_plain_iteration():
    matrices, offsets = contractions(3, 5, 0.97)
    expected = np.linalg.solve(np.eye(5) - np.asarray(matrices), np.asarray(offsets)[..., None])
    steps = {}
    for memory in (1, 4):
        solver = lc.FixedPoint(max_steps=2000, memory=memory)
        z, steps[memory], error = compiled_run(Linear(), solver, (matrices, offsets))
        assert jnp.all(error <= 1)
        # ‖z − z*‖ ≤ ‖r‖ / (1 − 0.97)
        assert np.linalg.norm(z - expected[..., 0], axis=1).max() <= 1e-10 / 0.03
    # Plain: ρ^k falls to the accuracy in about ln(1e-11)/ln(0.97) ≈ 800 steps.
    assert jnp.all(steps[1] > 600)
    assert jnp.all(steps[4] < steps[1] / 5)


def test_anderson_solves_where_the_plain_iteration_diverges():
    matrices, offsets = contractions(2, 3, 1.4)
    expected = np.linalg.solve(np.eye(3) - np.asarray(matrices), np.asarray(offsets)[..., None])
    plain = compiled_run(Linear(), lc.FixedPoint(max_steps=200), (matrices, offsets))
    assert jnp.all(plain[2] > 1e6)
    z, _, error = compiled_run(Linear(), lc.FixedPoint(200, memory=4), (matrices, offsets))
    assert jnp.all(error <= 1)
    np.testing.assert_allclose(z, expected[..., 0], rtol=1e-8)


def turning(batch, size):
    """Matrices in 2 × 2 blocks of eigenvalues ρe^{±iω}, and offsets; every third turns outwards.

    There ρ is up to 1.2, but the real parts are below 1, so that ż = Az + b − z is stable.
    """
    keys = jax.random.split(KEY, 2)
    hard = np.arange(batch) % 3 == 0
    lengths = np.where(
        hard[:, None], np.linspace(0.5, 1.2, size // 2), np.linspace(0.1, 0.4, size // 2)
    )
    angles = np.linspace(np.pi / 2, 2.5, size // 2)
    real, imaginary = lengths * np.cos(angles), lengths * np.sin(angles)
    matrices = np.zeros((batch, size, size))
    first = np.arange(0, size, 2)
    for row, column, entries in ((0, 0, real), (1, 1, real), (0, 1, -imaginary), (1, 0, imaginary)):
        matrices[:, first + row, first + column] = entries
    basis = jnp.linalg.qr(jax.random.normal(keys[0], (batch, size, size)))[0]
    matrices = basis @ jnp.asarray(matrices) @ jnp.swapaxes(basis, 1, 2)
    return hard, matrices, jax.random.normal(keys[1], (batch, size))


# The first batch is too small for groups.
@pytest.mark.parametrize(("batch", "size"), [(5, 4), (66, 36)])
def test_samples_that_plain_steps_leave_unsolved_mix_their_iterates(batch, size):
    hard, matrices, offsets = turning(batch, size)
    expected = np.linalg.solve(np.eye(size) - np.asarray(matrices), np.asarray(offsets)[..., None])
    problem = Linear(accuracy=1e-8)
    plain = compiled_run(problem, lc.FixedPoint(200), (matrices, offsets))
    np.testing.assert_array_equal(plain[2] > 1, hard)
    z, steps, error = compiled_run(problem, lc.FixedPoint.mixed_later(200), (matrices, offsets))
    assert jnp.all(error <= 1)
    # ‖z − z*‖ ≤ ‖r‖ / σ for the smallest singular value σ of I − A, which is normal here.
    np.testing.assert_allclose(z, expected[..., 0], atol=1e-8)
    # The others are as plain steps left them, and the first steps of these are plain.
    for mixed, unmixed in zip((z, steps), plain[:2], strict=True):
        np.testing.assert_array_equal(mixed[~hard], unmixed[~hard])
    assert jnp.all((steps[hard] > 30) & (steps[hard] < 100))
    # Alone, where they are too few for groups, they come the same way.
    few, begun = np.flatnonzero(hard)[:3], lc.FixedPoint(34, memory=8, plain_steps=30)
    together = compiled_run(problem, begun, (matrices, offsets))
    alone = compiled_run(problem, begun, (matrices[few], offsets[few]))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other[few], rtol=1e-9)


def test_plain_steps_come_before_mixing():
    _, matrices, offsets = turning(5, 4)
    few = lc.FixedPoint(25, memory=8, plain_steps=25)
    plain = compiled_run(Linear(), lc.FixedPoint(25), (matrices, offsets))
    for mixed, unmixed in zip(compiled_run(Linear(), few, (matrices, offsets)), plain, strict=True):
        np.testing.assert_array_equal(mixed, unmixed)


@pytest.mark.parametrize("options", [{"plain_steps": 5}, {"plain_steps": -1, "memory": 4}])
def test_plain_steps_without_mixing_after_them_are_refused(options):
    with pytest.raises(ValueError, match=r"write FixedPoint\(memory=8, plain_steps=30\)"):
        lc.FixedPoint(**options)


def test_solvers_take_turns_with_the_samples_that_are_left():
    # f = (r − 1)φ + b rests at b/(1 − r), which unit steps reach at the rate r.
    system = lc.FunctionSystem(
        lambda params, state, x: (x[:1] - 1) * state + x[1:],
        lambda params, state: state,
        None,
        jnp.zeros(1),
    )
    drives = jnp.asarray([[0.001, 2.0], [0.5, 2.0], [1.5, 2.0], [0.0, 3.0]])
    turns = lc.equilibrium.InTurn((lc.FixedPoint(8), lc.FixedPoint(50)))
    alone = [compiled_free(system, drives, solver=solver) for solver in turns.solvers]
    both = compiled_free(system, drives, solver=turns)
    np.testing.assert_array_equal(lc.solved(both), [True, True, False, True])
    np.testing.assert_allclose(both.value[[0, 1, 3], 0], [2 / 0.999, 4.0, 3.0], rtol=1e-4)
    # Only what the first left unsolved has steps of the second, which begins anew.
    first, second = (np.asarray(solution.stats.steps) for solution in alone)
    np.testing.assert_array_equal(both.stats.steps, first + np.where([0, 1, 1, 0], second, 0))
    np.testing.assert_array_equal(both.value[1], alone[1].value[1])
    # What neither solves is as the first left it.
    np.testing.assert_array_equal(both.value[2], alone[0].value[2])


def test_no_solvers_cannot_take_turns():
    with pytest.raises(ValueError, match=r"write InTurn\(\(FixedPoint.mixed_later\(\)"):
        lc.equilibrium.InTurn(())


@pytest.mark.parametrize("solver", [optx.FixedPointIteration, lc.Anderson])
def test_a_solver_of_optimistix_finds_free_equilibria(solver):
    system, x = recurrent(), inputs(7)
    drives = jax.vmap(system.drive)(x)
    tolerance = lc.Tolerance(1e-10)
    expected = compiled_free(system, drives, tolerance=tolerance)
    solution = compiled_free(system, drives, solver=solver(1e-12, 1e-12), tolerance=tolerance)
    assert lc.solved(solution).all()
    np.testing.assert_allclose(solution.value, expected.value, rtol=1e-8, atol=1e-10)
    assert jnp.all(solution.stats.steps > 1)


def test_anderson_is_faster_in_optimistix_too_and_keeps_pytrees():
    matrices, offsets = contractions(1, 6, 0.97)
    matrix, offset = matrices[0], offsets[0]

    def image(z, args):
        out = matrix @ jnp.concatenate([z["a"], z["b"]]) + offset
        return {"a": out[:2], "b": out[2:]}

    start = {"a": jnp.zeros(2), "b": jnp.zeros(4)}
    expected = np.linalg.solve(np.eye(6) - np.asarray(matrix), np.asarray(offset))
    steps = {}
    for memory in (1, 5):
        solver = lc.Anderson(rtol=0.0, atol=1e-10, memory=memory)
        solution = optx.fixed_point(image, solver, start, max_steps=2000)
        value = np.concatenate([solution.value["a"], solution.value["b"]])
        assert np.abs(value - expected).max() <= 1e-10 / 0.03
        steps[memory] = int(solution.stats["num_steps"])
    assert steps[1] > 600
    assert steps[5] < steps[1] / 5
    with pytest.raises(ValueError, match=r"write Anderson\(rtol, atol, memory=5\)"):
        lc.Anderson(1e-6, 1e-6, memory=0)


def test_a_relaxed_step_along_one_direction_ends_where_the_secant_says():
    # z ← 4 − 3z diverges. After four plain steps one goes all the way, the secant of the next is
    # exact, and the seventh finds the image at rest.
    sample = (jnp.full((1, 1, 1), -3.0), jnp.full((1, 1), 4.0))
    z, steps, error = compiled_run(Linear(), lc.FixedPoint(10, relax=True), sample)
    np.testing.assert_allclose(z, [[1.0]], rtol=1e-12)
    assert (int(steps[0]), bool(error[0] <= 1)) == (7, True)


def test_relaxed_steps_settle_where_plain_ones_swing_apart():
    rates = jnp.asarray([-2.0, -0.5, 0.4])
    sample = (jnp.diag(rates)[None], jnp.ones((1, 3)))
    _, _, plain = compiled_run(Linear(), lc.FixedPoint(60), sample)
    z, _, relaxed = compiled_run(Linear(), lc.FixedPoint(60, relax=True), sample)
    assert plain[0] > 1e20
    assert relaxed[0] <= 1
    np.testing.assert_allclose(z[0], 1 / (1 - rates), rtol=1e-9)


def test_relaxed_steps_are_plain_where_nothing_swings():
    # Shrinking residuals of one sign call for longer steps, which are not taken.
    sample = (jnp.diag(jnp.asarray([0.3, 0.6]))[None], jnp.ones((1, 2)))
    plain = compiled_run(Linear(), lc.FixedPoint(100), sample)
    relaxed = compiled_run(Linear(), lc.FixedPoint(100, relax=True), sample)
    for one, other in zip(relaxed, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_mixed_steps_are_not_relaxed():
    with pytest.raises(ValueError, match="only plain steps are relaxed"):
        lc.FixedPoint(memory=3, relax=True)


class Shrink(AbstractProblem):
    """z ← ρz from one, finished at or below an accuracy: the number of steps is known."""

    def initial(self, sample):
        return jnp.ones(1)

    def iterate(self, sample, z):
        return sample * z, z, z[0] / 1e-6

    def mixed(self, z):
        return (z,)

    def with_mixed(self, z, blocks):
        return blocks[0]


@pytest.mark.parametrize("batch", [3, 67])
def test_every_sample_stops_at_its_own_step_and_keeps_its_own_value(batch):
    rates = np.random.default_rng(0).permutation(np.linspace(0.05, 0.9, batch))
    z, steps, error = compiled_run(Shrink(), lc.FixedPoint(500), jnp.asarray(rates))
    # The first k with ρ^k ≤ 1e-6, and the evaluation that sees it.
    wanted = np.ceil(np.log(1e-6) / np.log(rates)).astype(int) + 1
    np.testing.assert_array_equal(steps, wanted)
    np.testing.assert_allclose(z[:, 0], rates ** (wanted - 1.0), rtol=1e-10)
    np.testing.assert_allclose(error, rates ** (wanted - 1.0) / 1e-6, rtol=1e-10)


def test_the_steps_are_bounded_and_the_error_belongs_to_the_value():
    rates = jnp.linspace(0.01, 1.2, 67)
    z, steps, error = compiled_run(Shrink(), lc.FixedPoint(10), rates)
    assert steps.max() == 10
    unfinished = error > 1
    assert 20 < unfinished.sum() < 67
    assert jnp.all(steps[unfinished] == 10)
    np.testing.assert_allclose(error, z[:, 0] / 1e-6, rtol=1e-12)
    # Nine steps lie before the tenth evaluation.
    np.testing.assert_allclose(z[unfinished, 0], rates[unfinished] ** 9, rtol=1e-12)


def test_a_sample_that_is_not_finite_stops_alone():
    rates = jnp.full(67, 0.5).at[5].set(jnp.nan).at[60].set(jnp.inf)
    _, steps, error = compiled_run(Shrink(), lc.FixedPoint(100), rates)
    others = np.delete(np.arange(67), [5, 60])
    assert jnp.all(steps[others] == 21)
    assert jnp.all(error[others] <= 1)
    assert steps[5] == steps[60] == 2
    assert not jnp.any(jnp.isfinite(error[jnp.array([5, 60])]))


@pytest.mark.parametrize("options", [{"max_steps": 0}, {"memory": 0}, {"max_steps": -2}])
def test_a_solver_without_steps_or_memory_is_refused(options):
    with pytest.raises(ValueError, match=r"max_steps=.*both are at least 1: write FixedPoint\("):
        lc.FixedPoint(**options)


@pytest.mark.parametrize("options", [(0.0,), (1.0,), (float("nan"),), (1e-5, 0.0), (-1.0,)])
def test_a_tolerance_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=r"write Tolerance\(relative=1e-5\)"):
        lc.Tolerance(*options)


# --- free equilibria


def test_the_free_equilibrium_solves_f():
    system, x = recurrent(), inputs(7)
    tolerance = lc.Tolerance(1e-10)
    drives = jax.vmap(system.drive)(x)
    free = compiled_free(system, drives, tolerance=tolerance)
    assert lc.solved(free).all()
    w = np.asarray(system.recurrent)
    state = np.zeros((7, 5))
    for _ in range(500):
        state = np.tanh(state) @ w.T + np.asarray(drives)
    np.testing.assert_allclose(free.value, state, rtol=1e-8)
    residual = np.asarray(free.value)
    residual = np.linalg.norm(np.tanh(residual) @ w.T + np.asarray(drives) - residual, axis=1)
    np.testing.assert_allclose(free.stats.state_residual, residual, rtol=1e-2, atol=1e-16)
    size = np.linalg.norm(free.value, axis=1)
    assert np.all(residual <= (1e-10 + 16 * np.finfo(float).eps) * size)
    assert jnp.all(free.stats.optimality_residual == 0)
    assert jnp.all(free.stats.control_norm == 0)


def expanding(seed=0, size=5):
    """A recurrent network whose unit step expands: the spectral radius of W is 3."""
    system = recurrent(seed, 1.0, activation=lc.identity)
    radius = np.abs(np.linalg.eigvals(system.recurrent)).max()
    return eqx.tree_at(lambda s: s.recurrent, system, 3 / radius * system.recurrent)


def test_no_success_is_claimed_on_a_map_that_does_not_contract():
    system = expanding()
    drives = jax.vmap(system.drive)(inputs(4))
    plain = compiled_free(system, drives, solver=lc.FixedPoint(max_steps=100))
    assert not lc.solved(plain).any()
    assert jnp.all(plain.result == RESULTS.not_contracting)
    assert jnp.all(plain.stats.steps == 100)
    assert "a unit step does not reduce the residual" in RESULTS[RESULTS.not_contracting]
    # Long enough to overflow.
    overflown = compiled_free(system, drives, solver=lc.FixedPoint(max_steps=2000))
    assert jnp.all(overflown.result == RESULTS.no_finite_point)
    # There is a rest point, and a solver for it.
    mixed = compiled_free(system, drives, solver=lc.FixedPoint(max_steps=400, memory=6))
    expected = np.linalg.solve(np.eye(5) - np.asarray(system.recurrent), np.asarray(drives).T).T
    assert lc.solved(mixed).all()
    np.testing.assert_allclose(mixed.value, expected, rtol=1e-4)


def test_a_damped_step_is_not_mistaken_for_rest():
    # The step that damping by 0.99 takes is a hundredth of the residual; the residual is what
    # counts, so that 4.5 is no answer where 10 is.
    system = lc.FunctionSystem(
        lambda rate, s, x: rate * (x - s), lambda p, s: s, jnp.array(0.01), jnp.zeros(1)
    )
    drives = jnp.array([[10.0], [-20.0]])
    short = compiled_free(system, drives, solver=lc.FixedPoint(max_steps=60))
    np.testing.assert_allclose(short.value, drives * (1 - 0.99**59), rtol=1e-12)
    assert not lc.solved(short).any()
    long = compiled_free(system, drives, solver=lc.FixedPoint(max_steps=2000))
    assert lc.solved(long).all()
    assert jnp.all(0.01 * jnp.abs(drives - long.value) <= 1.01e-5 * jnp.abs(long.value))


def test_a_rest_point_at_the_origin_is_found():
    system = eqx.tree_at(lambda s: s.input.bias, recurrent(), jnp.zeros(5))
    free = compiled_free(system, jnp.zeros((2, 5)))
    assert lc.solved(free).all()
    assert jnp.all(free.value == 0)


def test_a_constant_control_is_added_to_f():
    system, x = recurrent(), inputs(4)
    drives, control = jax.vmap(system.drive)(x), 0.3 * jnp.ones((4, 5))
    problem = FreeProblem(system, lc.Tolerance(1e-11))
    last, _, error = compiled_run(problem, lc.FixedPoint(200), Controlled(drives, control))
    assert jnp.all(error <= 1)
    field = jax.vmap(system.vector_field)(last.state, drives)
    np.testing.assert_allclose(field, -control, atol=1e-9)


def test_the_adjoint_solves_its_linear_equation():
    system, x = recurrent(), inputs(4)
    drives, errors = jax.vmap(system.drive)(x), vectors(4)
    states = jax.random.normal(KEY, (4, 5))
    problem = FreeProblem(AdjointSystem(system=system), lc.Tolerance(1e-11))
    points = Controlled(Linearised(drives, states, errors), None)
    last, _, error = compiled_run(problem, lc.FixedPoint(300, memory=4), points)
    adjoint = last.state
    assert jnp.all(error <= 1)
    for a, state, e in zip(adjoint, states, errors, strict=True):
        slope = np.diag(1 - np.tanh(state) ** 2)
        jacobian = np.asarray(system.recurrent) @ slope - np.eye(5)
        readout = np.asarray(system.output.weight) @ slope
        np.testing.assert_allclose(a, -np.linalg.solve(jacobian.T, readout.T @ e), rtol=1e-8)


# --- certificates


def by_hand(system, sample, point, leak, loss):
    """Returns the residuals of the three conditions with dense Jacobians."""
    state, unravel = jax.flatten_util.ravel_pytree(point.state)
    field = lambda z: jax.flatten_util.ravel_pytree(  # noqa: E731
        system.vector_field(unravel(z), sample.drive)
    )[0]
    read = lambda z: system.readout(unravel(z))  # noqa: E731
    psi, u = flat(point.control), np.asarray(point.output_control)
    output = np.asarray(read(state)) + (u if system.output_neurons else 0)
    slope = np.asarray(jax.grad(loss)(jnp.asarray(output)))
    pulled = np.asarray(jax.jacobian(field)(state)).T @ psi
    pulled = pulled + np.asarray(jax.jacobian(read)(state)).T @ u
    return (
        np.linalg.norm(np.asarray(field(state)) + psi),
        np.linalg.norm(pulled),
        np.linalg.norm(leak * u + slope),
    )


@pytest.mark.parametrize("kind", ["feedforward", "function", "read off"])
def test_a_certificate_holds_the_residuals_of_the_definition(kind):
    if kind == "feedforward":
        system = feedforward()
    else:
        system = function_system(output_neurons=kind == "function")
    target, leak, tolerance = vectors(2), 0.7, lc.Tolerance(1e-3, 5.0)
    batch = samples(system, inputs(2), target)
    state = jax.vmap(system.initial_state)(batch.drive)
    noise = lambda seed: jax.tree.map(  # noqa: E731
        lambda leaf: jax.random.normal(jax.random.fold_in(KEY, seed), leaf.shape), state
    )
    point = Point(noise(1), noise(2), vectors(2, seed=4))
    problem = lc.ControlProblem(system, lc.SquaredError(), leak)
    steps = jnp.array([3, 9], jnp.int32)
    solution = compiled_certify(problem, batch, point, steps, tolerance)
    stats = solution.stats
    assert jnp.array_equal(stats.steps, steps)
    for i in range(2):
        single = one_of(point, i)
        loss = lambda y, i=i: 0.5 * jnp.sum((y - target[i]) ** 2)  # noqa: E731
        wanted = by_hand(system, one_of(batch, i), single, leak, loss)
        measured = (stats.state_residual[i], stats.optimality_residual[i], stats.leak_residual[i])
        np.testing.assert_allclose(measured, wanted, rtol=1e-11)
        norm = lambda *trees: np.sqrt(sum(np.sum(flat(t) ** 2) for t in trees))  # noqa: E731
        control, size = norm(single.control, single.output_control), norm(single.state)
        np.testing.assert_allclose(stats.control_norm[i], control, rtol=1e-12)
        read = system.readout(single.state)
        output = norm(read + single.output_control if system.output_neurons else read)
        eps = 5.0 * np.finfo(float).eps
        allowed = (
            1e-3 * control + eps * (size + control),
            1e-3 * control + eps * control,
            1e-3 * leak * control + eps * (1 + output) * SIZE,
        )
        worst = max(r / a for r, a in zip(wanted, allowed, strict=True))
        np.testing.assert_allclose(stats.error[i], worst, rtol=1e-6)
    assert not lc.solved(solution).any()


def linear_solution(system, x, target, leak):
    """Returns (φ, ψ, u) of a linear recurrent network under squared error, by linear algebra."""
    w, d = np.asarray(system.recurrent), np.asarray(system.output.weight)
    drive = np.asarray(system.input.weight) @ np.asarray(x) + np.asarray(system.input.bias)
    n, m = w.shape[0], d.shape[0]
    jacobian = w - np.eye(n)
    matrix = np.block(
        [
            [jacobian, np.eye(n), np.zeros((n, m))],
            [np.zeros((n, n)), jacobian.T, d.T],
            [d, np.zeros((m, n)), (1 + leak) * np.eye(m)],
        ]
    )
    right = np.concatenate([-drive, np.zeros(n), np.asarray(target - system.output.bias)])
    return np.split(np.linalg.solve(matrix, right), [n, 2 * n])


def test_success_is_decided_by_each_residual_alone():
    system, x, target, leak = recurrent(1, 1.0, activation=lc.identity), inputs(4), vectors(4), 0.5
    points = [linear_solution(system, *pair, leak) for pair in zip(x, target, strict=True)]
    state, control, u = (np.stack(part) for part in zip(*points, strict=True))
    jacobian, readout = np.asarray(system.recurrent) - np.eye(5), np.asarray(system.output.weight)
    drives = jax.vmap(system.drive)(x)
    problem = lc.ControlProblem(system, lc.SquaredError(), leak)

    def certified(*parts):
        return compiled_certify(
            problem,
            lc.Sample(drives, target),
            Point(*map(jnp.asarray, parts)),
            jnp.ones(4, jnp.int32),
            lc.Tolerance(1e-9),
        )

    def settled(control):
        return np.linalg.solve(jacobian, -(control + np.asarray(drives)).T).T

    def residuals(solution):
        stats = solution.stats
        return (
            np.asarray(stats.state_residual),
            np.asarray(stats.optimality_residual),
            np.asarray(stats.leak_residual),
        )

    # The second sample's state moves where the output does not see it.
    moved = state.copy()
    moved[1] += np.linalg.svd(readout)[2][-1]
    solution = certified(moved, control, u)
    assert lc.solved(solution).tolist() == [True, False, True, True]
    field, optimality, slope = residuals(solution)
    assert field[1] > 0.01
    assert max(np.delete(field, 1).max(), optimality.max(), slope.max()) < 1e-13

    # ψ moves, φ settles under it, u answers to the output: only optimality is broken.
    held = settled(control + 0.1)
    answer = (np.asarray(target) - held @ readout.T - np.asarray(system.output.bias)) / (1 + leak)
    solution = certified(held, control + 0.1, answer)
    assert not lc.solved(solution).any()
    field, optimality, slope = residuals(solution)
    assert optimality.min() > 1e-3
    assert max(field.max(), slope.max()) < 1e-13

    # u moves, ψ is its pullback, φ settles: only αu + ∇L = 0 is broken.
    pulled = -np.linalg.solve(jacobian.T, readout.T @ (u + 0.1).T).T
    solution = certified(settled(pulled), pulled, u + 0.1)
    assert not lc.solved(solution).any()
    field, optimality, slope = residuals(solution)
    assert slope.min() > 1e-3
    assert max(field.max(), optimality.max()) < 1e-13

    # A value that is not finite is named as such.
    broken = state.copy()
    broken[2, 0] = np.nan
    solution = certified(broken, control, u)
    assert lc.solved(solution).tolist() == [True, True, False, True]
    named = solution.result == RESULTS.no_finite_point
    assert named.tolist() == [False, False, True, False]
