"""Units on kinks inside f, against minima that SciPy finds on every side of the kinks.

On one side of each kink the energy is smooth: a unit is active or silent. So the least energy near
a point with units on kinks is the least over the sides of those units, each with the constraint
that its pre-activations stay on their side. The oracle minimises these by SLSQP.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import KEY, credit, flat, naive_cross_entropy, soft, stronger
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol.controllers import Quick
from leastcontrol.equilibrium import Budget, KinkedJointProblem, Point
from leastcontrol.rules._rule import parameter_gradient
from leastcontrol.systems import (
    ImplicitRepresentation,
    OnKinks,
    Swapped,
    WithNodes,
    convolutional_deep_equilibrium,
    follow,
    inner_kinks,
    preactivations,
)

OUTPUTS = 3
SOFT = lc.CrossEntropy(softness=0.01)
TIGHT = lc.Tolerance(1e-11)
INVERSION = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=1000, memory=5))
NEWTON = lc.Exact(TIGHT)
LEAK = 0.05


def numbers(seed, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, 900 + seed), shape)


def recurrent():
    return stronger(lc.EquilibriumRNN(4, 5, OUTPUTS, activation=lc.relu, key=KEY), 1.2)


def implicit():
    network = ImplicitRepresentation(4, 5, OUTPUTS, frequency=2.0, key=KEY)
    return eqx.tree_at(lambda s: s.output.weight, network, 2 * network.output.weight)


def deep(make_cell=None):
    network = convolutional_deep_equilibrium(
        (1, 4, 4), OUTPUTS, channels=2, inner=2, groups=1, pool=2, make_cell=make_cell, key=KEY
    )
    # Weak norms, so that the cell contracts, and a readout that asks for much.
    weak = lambda model: [  # noqa: E731
        norm.weight for norm in jax.tree.leaves(model, is_leaf=_is_norm) if _is_norm(norm)
    ]
    network = eqx.tree_at(weak, network, [0.5 * weight for weight in weak(network)])
    return eqx.tree_at(
        lambda model: model.decoder.affine.weight, network, replace_fn=lambda w: 3 * w
    )


def _is_norm(node):
    return isinstance(node, eqx.nn.GroupNorm)


INPUTS = numbers(0, 4, 4)
LABELS = jnp.arange(4) % OUTPUTS
BATCH = lc.Batch(INPUTS, LABELS)
IMAGES = lc.Batch(numbers(1, 3, 1, 4, 4), jnp.arange(3) % OUTPUTS)
SYSTEMS = {"recurrent": recurrent, "implicit": implicit}
CELLS = {"residual": None, "swapped": Swapped, "nodes": WithNodes}


class Sides:
    """F of one sample's (φ, y), with each unit active or silent, and the least of these."""

    def __init__(self, system, x, target, leak):
        start, unravel = ravel_pytree(system.initial_state(system.drive(x)))
        self.theta, of_theta = ravel_pytree(eqx.filter(system, eqx.is_inexact_array))
        fixed = eqx.filter(system, eqx.is_inexact_array, inverse=True)
        wanted = soft(target[None], 0.01)[0]

        def parts(z, theta, active):
            network = eqx.combine(of_theta(theta), fixed)
            state, output = unravel(z[: start.size]), z[start.size :]
            layers = iter(active)
            layer = lambda before: next(layers) * before  # noqa: E731
            field = network.field_through(state, network.drive(x), layer)
            layers = iter(active)
            read = network.readout_through(state, layer)
            return ravel_pytree(field)[0], output - read, output

        def energy(z, theta, active):
            field, control, output = parts(z, theta, active)
            loss = naive_cross_entropy(output, wanted)
            return 0.5 * jnp.sum(field**2) + 0.5 * jnp.sum(control**2) + loss / leak

        def before(z, theta):
            network = eqx.combine(of_theta(theta), fixed)
            return preactivations(network, unravel(z[: start.size]), network.drive(x))[0]

        self.of_energy = jax.jit(jax.value_and_grad(energy))
        self.of_before = jax.jit(before), jax.jit(jax.jacobian(before))

    def least(self, z, theta, held, active):
        """Computes the least energy near z over all sides of the units that are held."""
        values = []
        for sides in itertools.product((0.0, 1.0), repeat=int(held.sum())):
            chosen = np.array(active, float)
            chosen[held] = sides
            sign = 2 * chosen - 1
            result = self._on_one_side(z, theta, chosen, sign)
            assert (sign * np.asarray(self.of_before[0](result.x, theta)) > -1e-7).all()
            values.append(result.fun)
        return min(values)

    def _on_one_side(self, z, theta, chosen, sign):
        before, slopes = self.of_before
        return scipy.optimize.minimize(
            lambda z: tuple(map(np.asarray, self.of_energy(z, theta, (chosen,)))),
            z,
            jac=True,
            method="SLSQP",
            constraints={
                "type": "ineq",
                "fun": lambda z: sign * np.asarray(before(z, theta)),
                "jac": lambda z: sign[:, None] * np.asarray(slopes(z, theta)),
            },
            options={"ftol": 1e-15, "maxiter": 300},
        )


def solved_by(controller, system, batch):
    rule = lc.LeastControl(controller, LEAK, loss=SOFT)
    result = credit(rule, system, batch)
    assert lc.solved(result.solution).all()
    return result


@pytest.mark.parametrize("name", [*SYSTEMS, *CELLS])
def test_a_system_through_relu_is_itself(name):
    network = SYSTEMS[name]() if name in SYSTEMS else deep(CELLS[name])
    drive = network.drive((INPUTS if name in SYSTEMS else IMAGES.inputs)[0])
    state = jax.tree.map(lambda leaf: numbers(2, *leaf.shape), network.initial_state(drive))
    for one, other in zip(
        jax.tree.leaves(
            (network.field_through(state, drive, lc.relu), network.readout_through(state, lc.relu))
        ),
        jax.tree.leaves((network.vector_field(state, drive), network.readout(state))),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)
    # A unit whose pre-activation no state moves is not one of them.
    for layer in jax.jacobian(lambda state: preactivations(network, state, drive))(state):
        assert sum(float(jnp.abs(moved).max()) for moved in jax.tree.leaves(layer)) > 0
    assert inner_kinks(network) is network


def test_smooth_units_end_where_their_shares_are_admissible():
    network = recurrent()
    drive = network.drive(INPUTS[0])
    for z, share in ((0.0, 0.3), (2.0, 1.0), (-2.0, 0.0)):
        state, shares, widths = (jnp.full(5, value) for value in (z, share, 0.7))
        sharp = network.vector_field(state, drive), network.readout(state)
        for system in (OnKinks(network, (shares,)), OnKinks(network, (shares,), (widths,))):
            softened = system.vector_field(state, drive), system.readout(state)
            for one, other in zip(softened, sharp, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-14)
        now = follow(network, state, drive, (shares,), (widths,))
        np.testing.assert_array_equal(now.shares[0], shares)
        np.testing.assert_array_equal(now.off_kinks[0], 0)
    # Between them the slope is that with which the shares follow.
    state, shares, widths = (jnp.full(5, value) for value in (0.2, 0.3, 0.7))
    smooth = OnKinks(network, (shares,), (widths,))
    now = follow(network, state, drive, (shares,), (widths,))
    pulled = now.pull(numbers(3, 5), numbers(4, OUTPUTS))[0]
    np.testing.assert_allclose(now.shares[0], 0.3 + 0.2 / 0.7, rtol=1e-14)
    np.testing.assert_allclose(
        smooth.pullback(state, drive)[2](numbers(3, 5), numbers(4, OUTPUTS)), pulled, rtol=1e-12
    )
    np.testing.assert_array_equal(now.off_kinks[0], 0.2)


def test_the_distances_from_kinks_are_a_residual():
    network = recurrent()
    problem = KinkedJointProblem(lc.ControlProblem(network, SOFT, LEAK), network, lc.Tolerance())
    sample = lc.Sample(network.drive(INPUTS[0]), LABELS[0])
    state, half = numbers(5, 5), (jnp.full(5, 0.5),)
    first = problem.initial(sample)
    control = -OnKinks(network, half).vector_field(state, sample.drive)
    # Units so wide that they keep their shares, at a state where the rest of f + ψ is zero.
    z = first._replace(
        point=Point(state, control, jnp.zeros(OUTPUTS)), shares=half, widths=(jnp.full(5, 1e12),)
    )
    _, measured, _ = problem.iterate(sample, z)
    np.testing.assert_allclose(measured.residuals.state_residual, np.linalg.norm(state), rtol=1e-9)


def test_the_weights_of_a_unit_on_its_kink_learn_from_its_share_of_the_signal():
    network = implicit()
    state, signal, error = numbers(6, 1, 5), numbers(7, 1, 5), numbers(8, 1, OUTPUTS)
    shares = (jnp.asarray([[0.0, 0.25, 0.5, 0.75, 1.0]]),)
    gradient = parameter_gradient(network, INPUTS[:1], state, signal, error, shares)
    frequency = network.frequency
    expected = frequency * np.outer(shares[0] * signal, state)
    np.testing.assert_allclose(gradient.recurrent, expected, atol=1e-14)
    np.testing.assert_allclose(
        gradient.output.weight, frequency * np.outer(error, state), atol=1e-14
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("controller", [INVERSION, NEWTON], ids=["inversion", "newton"])
def test_solves_end_in_the_least_energy_of_all_sides_and_its_gradient_is_exact(name, controller):
    network = SYSTEMS[name]()
    on_kink = 0
    for index in range(len(LABELS)):
        batch = lc.Batch(INPUTS[index : index + 1], LABELS[index : index + 1])
        result = solved_by(controller, network, batch)
        (share,) = (np.asarray(layer[0]) for layer in result.solution.shares)
        point = jax.tree.map(lambda leaf: leaf[0], result.solution.value)
        held = (share > 0) & (share < 1)
        on_kink += held.sum()
        (before,) = preactivations(network, point.state, network.drive(batch.inputs[0]))
        np.testing.assert_allclose(np.asarray(before)[held], 0, atol=1e-8)
        z = np.append(point.state, network.readout(point.state) + point.output_control)
        sides = Sides(network, batch.inputs[0], batch.targets[0], LEAK)
        active = np.asarray(before) > 0
        least = sides.least(z, sides.theta, held, active)
        np.testing.assert_allclose(result.objective, least, rtol=1e-8)
        gradient = flat(eqx.filter(result.gradient, eqx.is_inexact_array))
        move = np.asarray(numbers(10 + index, sides.theta.size))
        step = 1e-4
        up, down = (
            sides.least(z, sides.theta + sign * step * move, held, active) for sign in (1, -1)
        )
        np.testing.assert_allclose(gradient @ move, (up - down) / (2 * step), rtol=1e-4)
    assert on_kink >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "leak"), [("residual", 0.1), ("swapped", 1.0)])
def test_deep_equilibria_come_to_rest_on_kinks_with_an_exact_gradient(name, leak):
    network = deep(CELLS[name])
    rule = lc.LeastControl(
        lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=2000, memory=5)), leak, loss=SOFT
    )
    result = credit(rule, network, IMAGES)
    assert lc.solved(result.solution).all()
    assert sum(int(((layer > 0) & (layer < 1)).sum()) for layer in result.solution.shares) >= 2
    gradient = flat(eqx.filter(result.gradient, eqx.is_inexact_array))
    learned, fixed = eqx.partition(network, eqx.is_inexact_array)
    theta, of_theta = ravel_pytree(learned)
    step = 1e-6
    for seed in range(2):
        move = numbers(50 + seed, theta.size)
        up, down = (
            credit(rule, eqx.combine(of_theta(theta + sign * step * move), fixed), IMAGES).objective
            for sign in (1, -1)
        )
        np.testing.assert_allclose(gradient @ move, (up - down) / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_automatic_continues_with_the_shares_of_the_joint_iteration():
    network = recurrent()
    few = lc.Automatic(TIGHT, lc.FixedPoint(max_steps=6, memory=5))
    quick = credit(lc.LeastControl(few.quick, LEAK, loss=SOFT), network, BATCH).solution
    assert not lc.solved(quick).any()
    result = solved_by(few, network, BATCH)
    expected = solved_by(INVERSION, network, BATCH)
    np.testing.assert_allclose(result.objective, expected.objective, rtol=1e-9)
    np.testing.assert_allclose(flat(result.gradient), flat(expected.gradient), rtol=1e-6, atol=1e-8)


def test_units_on_kinks_are_solved_where_one_sided_slopes_are_not():
    network = recurrent()
    solution = credit(lc.LeastControl(INVERSION, LEAK, loss=SOFT), network, BATCH).solution
    assert lc.solved(solution).all()
    (shares,) = solution.shares
    assert int(((shares > 0) & (shares < 1)).sum()) >= 2
    # The same f with a relu that is not known as one.
    unknown = lc.EquilibriumRNN(4, 5, OUTPUTS, activation=lambda x: lc.relu(x), key=KEY)
    unknown = stronger(unknown, 1.2)
    assert inner_kinks(unknown) is None
    plain = lc.DynamicInversion(TIGHT, lc.FixedPoint(max_steps=200))
    solution = credit(lc.LeastControl(plain, LEAK, loss=SOFT), unknown, BATCH).solution
    assert solution.shares is None
    assert not lc.solved(solution).all()


@pytest.mark.slow
def test_a_budget_keeps_the_iteration_that_rests_on_kinks():
    network = recurrent()

    def steps(controller):
        solution = credit(lc.LeastControl(controller, LEAK, loss=SOFT), network, BATCH).solution
        assert lc.solved(solution).all()
        return solution.stats.steps

    default = steps(lc.DynamicInversion())
    assert 10 < default.max() <= 199
    for controller in (lc.DynamicInversion, Quick, lc.Automatic):
        np.testing.assert_array_equal(steps(controller(solver=Budget(199))), default)
    with pytest.raises(ValueError, match="max_steps=0"):
        steps(lc.DynamicInversion(solver=Budget(0)))


@pytest.mark.slow
def test_the_certificate_of_a_credit_knows_the_shares():
    system, rule = recurrent(), lc.LeastControl(INVERSION, LEAK, loss=SOFT)
    solution = credit(rule, system, BATCH).solution
    between = (solution.shares[0] > 0.01) & (solution.shares[0] < 0.99)
    assert between.any(axis=1).sum() >= 2
    certificate = lc.credit_certificate(rule, system, BATCH, solution)
    assert (certificate.predicted_error < 1e-6).all()
    sharp = eqx.tree_at(lambda solution: solution.shares, solution, None)
    blamed = lc.credit_certificate(rule, system, BATCH, sharp).predicted_error > 1e-2
    assert jnp.array_equal(blamed, between.any(axis=1))
