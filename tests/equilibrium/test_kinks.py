"""Rectified systems under control: minimisers on kinks, certified, with exact gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KEY, credit, flat, solve, stronger
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol.equilibrium import KinkedSweepProblem, _kinked_sweep, run
from leastcontrol.systems import ResidualNetwork, dense_residual_network
from leastcontrol.systems._kinks import Kinked

OUTPUTS = 3
SOFT = lc.CrossEntropy(softness=0.01)
TIGHT = lc.DynamicInversion(lc.Tolerance(1e-10), lc.FixedPoint(max_steps=400))
LAYERS = (
    lc.Convolution(3, padding=1, pool=lc.MaxPool(2)),
    lc.Convolution(4, kernel=2),
)


def numbers(seed, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, 700 + seed), shape)


def system():
    return stronger(lc.ConvolutionalFeedforward((1, 8, 8), LAYERS, (6,), OUTPUTS, key=KEY), 1.3)


def dense():
    return stronger(lc.Feedforward(8, (6, 6), OUTPUTS, activation=lc.relu, key=KEY), 1.6)


def residual():
    return stronger(dense_residual_network(8, 6, 9, OUTPUTS, key=KEY), 1.4)


BATCH = lc.Batch(numbers(0, 5, 1, 8, 8), jnp.arange(5) % OUTPUTS)
VECTORS = lc.Batch(numbers(40, 5, 8), jnp.arange(5) % OUTPUTS)


@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_state_minimises_what_a_window_asks(pool, sign):
    kinked = Kinked(pool)
    target, moves = numbers(1, 4, 6, 6), 0.3 * numbers(2, 3000, 4, 6, 6)
    signal = sign * jnp.abs(numbers(3, 4, 6 // pool, 6 // pool))
    last = jnp.zeros_like(target)
    state, control = kinked.settle(target, signal, last)
    active = kinked.activity(state)
    np.testing.assert_allclose(state - target, control, atol=1e-15)

    def cost(state):
        square = kinked.sum((state - target) ** 2)
        return 0.5 * square - signal * kinked.activity(state)

    # Downwards the problem is convex; upwards only small moves stay at the same rest point.
    scale = 1.0 if sign < 0 else 1e-4
    for size in (1.0, 0.1, 0.01):
        others = jax.vmap(lambda move, size=size: cost(state + scale * size * move))(moves)
        assert bool((others >= cost(state)[None] - 1e-12).all())
    if sign < 0:
        assert bool((active == 0).any())
        assert bool((active > 0).any())


@pytest.mark.parametrize("pool", [1, 2])
def test_an_answer_expects_the_target_to_move_by_the_stiffness(pool):
    kinked = Kinked(pool)
    free, signal = numbers(1, 4, 6, 6), -jnp.abs(numbers(3, 4, 6 // pool, 6 // pool))
    stiffness = 3 * jnp.abs(numbers(4, 4, 1, 1))

    def target(control):
        return free + stiffness * control

    # One answer to a target that does move so is at rest, from whatever control it comes.
    before = -jnp.abs(numbers(5, 4, 6, 6))
    control = kinked.answer(target(before), signal, free, before, stiffness)
    state, settled = kinked.settle(target(control), signal, free)
    np.testing.assert_allclose(control, settled, atol=1e-14)
    held = (state == 0) | (jnp.abs(state) < 1e-14)
    assert bool((held & (control < 0)).any())
    # The state to rounding at its kink, where the generalised gradient asks for exactly zero.
    exact = jnp.where(jnp.abs(state) < 1e-14, 0.0, state)
    if pool == 1:
        np.testing.assert_allclose(kinked.unanswered(exact, signal, control), 0, atol=1e-14)
    plain = kinked.answer(target(before), signal, free, before, jnp.zeros(()))
    np.testing.assert_array_equal(plain, kinked.settle(target(before), signal, free)[1])
    assert not np.allclose(plain, control)


def energy_of(system, leak):
    """Returns F = ½‖f‖² + ½‖u‖² + L/α of one sample's state and output."""

    def energy(state, output, x, target):
        field = system.vector_field(state, system.drive(x))
        control = output - system.readout(state)
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(field)) + jnp.sum(control**2)
        return 0.5 * squares + SOFT(output, target) / leak

    return energy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "batch", "leak"),
    [
        (system, BATCH, 0.3),
        (system, BATCH, 3.0),
        (dense, VECTORS, 0.3),
        (residual, VECTORS, 0.5),
    ],
)
def test_every_solve_ends_in_a_minimum_on_kinks(make, batch, leak):
    network = make()
    problem = lc.ControlProblem(network, SOFT, leak)
    solution = solve(
        TIGHT, problem, lc.Sample(jax.vmap(network.drive)(batch.inputs), batch.targets)
    )
    assert lc.solved(solution).all()
    state, control, u = solution.value
    # Silenced units, with a control that no one-sided derivative gives.
    held = [(phi == 0) & (psi != 0) for phi, psi in zip(state, control, strict=True)]
    assert sum(int(leaf.sum()) for leaf in held) >= 3
    outputs = jax.vmap(network.readout)(state) + u
    energy = energy_of(network, leak)

    def lowest(state, output, x, target, key):
        keys = jax.random.split(key, 200)

        def moved(key):
            move = lambda leaf: leaf + 1e-4 * jax.random.normal(key, leaf.shape)  # noqa: E731
            return energy(jax.tree.map(move, state), move(output), x, target)

        return jnp.min(jax.vmap(moved)(keys)) - energy(state, output, x, target)

    keys = jax.random.split(KEY, len(batch.targets))
    rise = jax.jit(jax.vmap(lowest))(state, outputs, batch.inputs, batch.targets, keys)
    assert bool((rise > 0).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "batch"), [(system, BATCH), (dense, VECTORS), (residual, VECTORS)]
)
def test_the_gradient_on_kinks_is_that_of_the_least_energy(make, batch):
    network, leak = make(), 0.5
    rule = lc.LeastControl(TIGHT, leak, loss=SOFT)
    result = credit(rule, network, batch)
    assert lc.solved(result.solution).all()
    gradient = flat(result.gradient)
    learned, fixed = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(learned)
    for seed in range(3):
        moves = [numbers(20 + 10 * seed + i, *leaf.shape) for i, leaf in enumerate(leaves)]
        step = 1e-6
        values = []
        for sign in (1, -1):
            moved = [leaf + sign * step * m for leaf, m in zip(leaves, moves, strict=True)]
            there = eqx.combine(jax.tree.unflatten(structure, moved), fixed)
            values.append(credit(rule, there, batch).objective)
        slope = (values[0] - values[1]) / (2 * step)
        expected = np.dot(gradient, np.concatenate([np.ravel(m) for m in moves]))
        np.testing.assert_allclose(expected, slope, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "batch"), [(system, BATCH), (dense, VECTORS), (residual, VECTORS)]
)
def test_the_certificate_of_a_credit_predicts_the_error_of_units_on_kinks(make, batch):
    network, leak = make(), 0.4

    def credited(controller):
        rule = lc.LeastControl(controller, leak, loss=SOFT, unsolved=lc.Keep())
        solution = credit(rule, network, batch).solution
        return solution.value, lc.credit_certificate(rule, network, batch, solution)

    def gradients(point):
        def of_one(x, point):
            def field_and_readout(model):
                return model.vector_field(point.state, model.drive(x)), model.readout(point.state)

            signals = jax.tree.map(jnp.negative, (point.control, point.output_control))
            return ravel_pytree(eqx.filter_vjp(field_and_readout, network)[1](signals)[0])[0]

        return jax.vmap(of_one)(batch.inputs, point)

    point, sound = credited(TIGHT)
    pairs = zip(*map(jax.tree.leaves, (point.state, point.control)), strict=True)
    held = [(phi == 0) & (psi != 0) for phi, psi in pairs]
    assert sum(int(leaf.sum()) for leaf in held) >= 3
    assert (sound.predicted_error < 1e-7).all()
    # After so few sweeps no sample is at rest.
    cut, blamed = credited(lc.DynamicInversion(lc.Tolerance(1e-10), lc.FixedPoint(4)))
    exact = gradients(point)
    true = jnp.linalg.norm(gradients(cut) - exact, axis=1) / jnp.linalg.norm(exact, axis=1)
    assert (true > 1e-7).all()
    np.testing.assert_array_less(blamed.predicted_error, 3 * true)
    np.testing.assert_array_less(true, 3 * blamed.predicted_error)


@pytest.mark.slow
def test_single_precision_reaches_the_tolerance():
    with jax.enable_x64(False):
        network = lc.ConvolutionalFeedforward((1, 8, 8), LAYERS, (6,), OUTPUTS, key=KEY)
        x = jnp.asarray(np.asarray(BATCH.inputs), jnp.float32)
        batch = lc.Batch(x, jnp.asarray(np.asarray(BATCH.targets), jnp.int32))
        result = credit(lc.LeastControl(lc.DynamicInversion(), 1.0), network, batch)
        assert lc.solved(result.solution).all()


class Unprepared(lc.ConvolutionalFeedforward):
    """A network whose units take their targets for given."""

    def stiffness(self):
        return jax.tree.map(jnp.zeros_like, super().stiffness())


@pytest.mark.slow
def test_stiff_units_come_to_rest_where_unprepared_ones_flip_for_ever():
    x, y = numbers(40, 12, 1, 8, 8), jnp.arange(12) % OUTPUTS
    solved = []
    for kind in (Unprepared, lc.ConvolutionalFeedforward):
        network = stronger(kind((1, 8, 8), LAYERS, (6,), OUTPUTS, key=KEY), 1.95)
        problem = lc.ControlProblem(network, SOFT, 3.0)
        samples = lc.Sample(jax.vmap(network.drive)(x), y)
        solved.append(float(lc.solved(solve(lc.DynamicInversion(), problem, samples)).mean()))
    assert solved[0] < 0.9
    assert solved[1] == 1


def test_a_sample_whose_error_stays_where_it_is_goes_on_with_more_stiffness(monkeypatch):
    network = stronger(lc.ConvolutionalFeedforward((1, 8, 8), LAYERS, (6,), OUTPUTS, key=KEY), 1.95)
    samples = lc.Sample(jax.vmap(network.drive)(numbers(40, 12, 1, 8, 8)), jnp.arange(12) % OUTPUTS)
    problem = KinkedSweepProblem(lc.ControlProblem(network, SOFT, 3.0), network, lc.Tolerance())
    # A fifth of what the system estimates.
    low = eqx.tree_at(
        lambda p: p.stiffness, problem, jax.tree.map(lambda leaf: 0.2 * leaf, problem.stiffness)
    )
    solved = []
    for stiffer in (1.0, _kinked_sweep.STIFFER):
        monkeypatch.setattr(_kinked_sweep, "STIFFER", stiffer)
        _, _, error = jax.jit(lambda samples: run(low, lc.FixedPoint(40), samples))(samples)
        solved.append(int((error <= 1).sum()))
    assert solved[0] < 10
    assert solved[1] == 12


@pytest.mark.slow
def test_the_stiffness_is_the_answer_of_the_layers_before():
    network = lc.ConvolutionalFeedforward(
        (1, 9, 9), (lc.Convolution(3, 3), lc.Convolution(4, 2)), (5, 6), OUTPUTS, key=KEY
    )
    # Where every unit is active the squared size of a unit's gradient is twice the first layer's,
    # and four times and more of that behind it; here from the Jacobian of the whole pass.
    drive = jnp.full((3, 7, 7), 50.0)
    positive = jax.tree.map(lambda leaf: jnp.abs(leaf) if eqx.is_array(leaf) else leaf, network)
    zero = jax.tree.map(jnp.zeros_like, network.initial_state(drive))
    jacobian = jax.jacobian(lambda control: positive.settle(drive, control)[1])(zero)[0]
    inner = jnp.sum(jacobian[:, 2, 2] ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(2 * positive.stiffness()[1][:, 0, 0], inner, rtol=1e-12)
    assert [leaf.shape for leaf in network.stiffness()] == [(), (4, 1, 1), (5,), (6,)]
    first = jnp.sum(
        network.dense[0].weight ** 2 * jnp.repeat(1 + network.stiffness()[1], 36)[None], axis=1
    )
    np.testing.assert_allclose(network.stiffness()[2], 0.5 * first, rtol=1e-12)


def test_only_rectified_units_in_whole_windows_have_these_kinks():
    make = lambda pool, activation: lc.ConvolutionalFeedforward(  # noqa: E731
        (1, 8, 8),
        (lc.Convolution(2, padding=1, pool=pool),),
        (),
        OUTPUTS,
        activation=activation,
        key=KEY,
    )
    assert make(lc.MaxPool(2), lc.relu).rectified
    assert make(None, lc.relu).rectified
    assert not make(lc.MaxPool(2), lc.tanh).rectified
    assert not make(lc.MaxPool(3, stride=1), lc.relu).rectified
    assert dense().rectified
    assert not lc.Feedforward(8, (6,), OUTPUTS, key=KEY).rectified


class UnpreparedResidual(ResidualNetwork):
    """A residual network whose units forget that the blocks before move them."""

    def stiffness(self):
        return jnp.zeros_like(super().stiffness())


@pytest.mark.slow
def test_residual_units_come_to_rest_only_if_they_expect_the_blocks_before_to_move_them():
    prepared, x = residual(), numbers(41, 40, 8)
    unprepared = object.__new__(UnpreparedResidual)
    for name in prepared.__dataclass_fields__:
        object.__setattr__(unprepared, name, getattr(prepared, name))
    solved = []
    for network in (prepared, unprepared):
        assert network.rectified
        problem = lc.ControlProblem(network, SOFT, 0.5)
        samples = lc.Sample(jax.vmap(network.drive)(x), jnp.arange(40) % OUTPUTS)
        solved.append(lc.solved(solve(lc.DynamicInversion(), problem, samples)).mean())
    assert solved[0] == 1
    assert solved[1] < 0.5


def test_other_residual_networks_have_no_kinks_of_their_own():
    assert not dense_residual_network(8, 6, 2, OUTPUTS, activation=jnp.tanh, key=KEY).rectified
