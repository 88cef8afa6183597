"""Stability margins against dense eigenvalues; the trust in a gradient against its definition."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    KEY,
    SIZE,
    feedforward,
    function_system,
    inputs,
    labels,
    one_of,
    recurrent,
    samples,
    solve,
)
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol import diagnostics

LEAK = 0.5
SOFT = lc.CrossEntropy(softness=0.01)


@pytest.fixture(scope="module")
def settled():
    with jax.enable_x64(True):
        system = recurrent(factor=2.0)
        problem = lc.ControlProblem(system, lc.CrossEntropy(), LEAK)
        everyone = samples(system, inputs(), labels())
        solution = solve(lc.Exact(lc.Tolerance(1e-10)), problem, everyone)
        assert bool(lc.solved(solution).all())
        return system, problem, everyone, solution.value


def bounded(make, **options):
    """Returns a problem with its samples, small enough for the bound to say something."""
    system = make(factor=0.5, **options)
    return lc.ControlProblem(system, lc.CrossEntropy(), LEAK), samples(system, inputs(), labels())


@pytest.mark.parametrize("make", [feedforward, recurrent])
def test_no_control_moves_the_readout_by_more_than_the_largest_gain(make):
    problem, everyone = bounded(make)
    system, drive = problem.system, everyone.drive[0]
    gain = float(diagnostics.largest_gain(system))

    def read(control):
        state = jax.tree.map(jnp.zeros_like, control)
        for _ in range(60):
            field = system.vector_field(state, drive)
            state = jax.tree.map(lambda *parts: sum(parts), state, field, control)
        return system.readout(state)

    zero = jax.tree.map(jnp.zeros_like, system.initial_state(drive))
    shares = []
    for seed in range(8):
        flat, unravel = ravel_pytree(zero)
        control = jax.random.normal(jax.random.fold_in(KEY, seed), flat.shape)
        moved = jnp.linalg.norm(jax.jit(read)(unravel(control)) - jax.jit(read)(zero))
        shares.append(float(moved / (gain * jnp.linalg.norm(control))))
    # A bound, and one of the right size.
    assert max(shares) <= 1
    assert max(shares) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("make", [feedforward, recurrent])
def test_the_least_energy_lies_above_its_bound(make):
    problem, everyone = bounded(make)
    solution = solve(lc.Exact(lc.Tolerance(1e-10)), problem, everyone)
    measured = diagnostics.energy_gap(problem, everyone, solution.value)
    for index in range(len(measured.energy)):
        state, control, u = one_of(solution.value, index)
        loss = -jax.nn.log_softmax(problem.system.readout(state) + u)[everyone.target[index]]
        square = sum(jnp.sum(leaf**2) for leaf in (*jax.tree.leaves(control), u))
        assert measured.energy[index] == pytest.approx(float(0.5 * square + loss / LEAK), rel=1e-9)
    assert jnp.all(measured.lower_bound > 0)
    assert jnp.all(measured.gap > 0)
    np.testing.assert_allclose(measured.gap, measured.energy - measured.lower_bound)


@pytest.mark.slow
def test_the_bound_is_reached_where_every_direction_has_the_same_gain():
    problem, everyone = bounded(lambda **o: feedforward(activation=lc.systems.identity, **o))
    first, second, _ = problem.system.layers
    gain = 0.7
    # One layer that control reaches, the readout a multiple of the identity.
    layers = (
        eqx.tree_at(lambda layer: layer.weight, second, jnp.zeros_like(second.weight)),
        eqx.tree_at(lambda layer: layer.weight, problem.system.layers[2], gain * jnp.eye(SIZE)),
    )
    system = eqx.tree_at(lambda network: network.layers, problem.system, (first, *layers))
    assert diagnostics.largest_gain(system) == pytest.approx(gain)
    problem = lc.ControlProblem(system, lc.CrossEntropy(), LEAK)
    solution = solve(lc.Exact(lc.Tolerance(1e-10)), problem, everyone)
    measured = diagnostics.energy_gap(problem, everyone, solution.value)
    np.testing.assert_allclose(measured.gap, 0, atol=1e-9)


def test_an_unknown_bound_is_zero_and_an_unknown_gain_refused():
    system = recurrent(factor=8.0)
    assert diagnostics.largest_gain(system) == jnp.inf
    problem, everyone = bounded(recurrent)
    problem = lc.ControlProblem(system, lc.CrossEntropy(), LEAK)
    point = solve(lc.Exact(lc.Tolerance(1e-8)), problem, everyone).value
    measured = diagnostics.energy_gap(problem, everyone, point)
    assert jnp.all(measured.lower_bound == 0)
    with pytest.raises(ValueError, match="give a Feedforward or an EquilibriumRNN"):
        diagnostics.largest_gain(function_system())
    with pytest.raises(ValueError, match="give a system with tanh, relu"):
        diagnostics.largest_gain(recurrent(activation=jnp.sin))
    with pytest.raises(ValueError, match="give a problem with a leak above 0"):
        diagnostics.energy_gap(lc.ControlProblem(system, SOFT, 0.0), everyone, point)


@pytest.mark.parametrize("arnoldi", [3, 8])
def test_the_free_margin_is_that_of_the_dense_jacobian(settled, arnoldi, monkeypatch):
    monkeypatch.setattr(diagnostics._margins, "SMALLEST_FOR_ARNOLDI", arnoldi)
    system, _, everyone, point = settled
    margins = diagnostics.free_margin(system, everyone.drive, point.state)
    for margin, state in zip(margins, np.asarray(point.state), strict=True):
        slopes = 1 - np.tanh(state) ** 2
        dense = np.asarray(system.recurrent) * slopes[None] - np.eye(state.size)
        assert margin == pytest.approx(-np.linalg.eigvals(dense).real.max(), abs=1e-6)


@pytest.mark.slow
def test_the_controlled_margin_is_that_of_the_dense_joint_dynamics(settled):
    system, problem, everyone, point = settled
    margins = diagnostics.controlled_margin(problem, everyone, point)
    for index, margin in enumerate(margins):
        drive, label = everyone.drive[index], everyone.target[index]

        def joint(both, drive=drive, label=label, index=index):
            state, control = jnp.split(both, 2)
            read = system.readout(state)
            # αu + ∇L(h + u) = 0 by Newton's method on dense matrices, from the rest point's answer.
            u = point.output_control[index]
            for _ in range(3):
                slope = jax.grad(lambda y: -jax.nn.log_softmax(y)[label])
                residual = lambda u, slope=slope: LEAK * u + slope(read + u)  # noqa: E731
                u = u - jnp.linalg.solve(jax.jacobian(residual)(u), residual(u))
            field, pull = jax.vjp(
                lambda state: (system.vector_field(state, drive), system.readout(state)), state
            )
            return jnp.concatenate([field[0] + control, pull((control, u))[0]])

        both = jnp.concatenate([point.state[index], point.control[index]])
        assert float(jnp.linalg.norm(joint(both))) < 1e-8
        dense = np.asarray(jax.jacobian(joint)(both))
        assert margin == pytest.approx(-np.linalg.eigvals(dense).real.max(), abs=1e-5)


def batches(count=2):
    return [lc.Batch(inputs(seed=seed), labels()) for seed in range(count)]


@pytest.mark.slow
def test_the_oracle_can_be_trusted():
    system = recurrent()
    exact = lc.LeastControl(lc.Exact(lc.Tolerance(1e-9)), LEAK)
    trust = diagnostics.gradient_trust(
        system, batches(), exact, exact=exact, loss=lc.RecurrentBackpropagation()
    )
    assert trust.samples == 12
    assert trust.converged_fraction == 1
    assert trust.angle_to_exact < 1e-5
    assert trust.relative_error == trust.distance == 0
    assert np.isnan(trust.sensitivity)
    # Under control of this strength it is another gradient, but not an opposite one.
    assert 1 < trust.angle_to_loss < 90


@pytest.mark.slow
def test_a_gradient_without_its_readout_is_found_out():
    system = recurrent()
    exact = lc.LeastControl(lc.Exact(lc.Tolerance(1e-9)), LEAK)

    def lame(system, feedback, batch, *, key=None):
        credit = exact(system, feedback, batch)
        nothing = jax.tree.map(jnp.zeros_like, credit.gradient.output)
        moved = jax.tree.map(lambda leaf: leaf + 0.25, credit.solution.value.state)
        credit = eqx.tree_at(lambda result: result.solution.value.state, credit, moved)
        return eqx.tree_at(lambda result: result.gradient.output, credit, nothing)

    trust = diagnostics.gradient_trust(
        system, batches(), lame, exact=exact, loss=lc.RecurrentBackpropagation(), key=KEY
    )
    total = [exact(system, None, batch).gradient for batch in batches()]
    whole, _ = ravel_pytree(jax.tree.map(jnp.add, *total))
    missing, _ = ravel_pytree(jax.tree.map(jnp.add, *total).output)
    share = float(jnp.linalg.norm(missing) / jnp.linalg.norm(whole))
    assert trust.relative_error == pytest.approx(share, rel=1e-9)
    assert trust.angle_to_exact == pytest.approx(float(np.degrees(np.arcsin(share))), rel=1e-6)
    assert trust.distance == pytest.approx(0.25 * 5**0.5, rel=1e-9)
    error = float(jnp.linalg.norm(missing))
    assert trust.sensitivity == pytest.approx(error / trust.distance, rel=1e-9)


def test_no_batches_are_refused():
    rule = lc.RecurrentBackpropagation()
    with pytest.raises(ValueError, match="There are no batches"):
        diagnostics.gradient_trust(recurrent(), [], rule, exact=rule, loss=rule)
