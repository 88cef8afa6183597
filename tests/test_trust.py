"""Stability margins against dense eigenvalues; the trust in a gradient against its definition."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KEY, inputs, labels, recurrent, samples, solve
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol import diagnostics

LEAK = 0.5


@pytest.fixture(scope="module")
def settled():
    with jax.enable_x64(True):
        system = recurrent(factor=2.0)
        problem = lc.ControlProblem(system, lc.CrossEntropy(), LEAK)
        everyone = samples(system, inputs(), labels())
        solution = solve(lc.Exact(lc.Tolerance(1e-10)), problem, everyone)
        assert bool(lc.solved(solution).all())
        return system, problem, everyone, solution.value


@pytest.mark.parametrize("arnoldi", [3, 8])
def test_the_free_margin_is_that_of_the_dense_jacobian(settled, arnoldi, monkeypatch):
    monkeypatch.setattr(diagnostics._margins, "SMALLEST_FOR_ARNOLDI", arnoldi)
    system, _, everyone, point = settled
    margins = diagnostics.free_margin(system, everyone.drive, point.state)
    for margin, state in zip(margins, np.asarray(point.state), strict=True):
        slopes = 1 - np.tanh(state) ** 2
        dense = np.asarray(system.recurrent) * slopes[None] - np.eye(state.size)
        assert margin == pytest.approx(-np.linalg.eigvals(dense).real.max(), abs=1e-6)


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
        credit = eqx.tree_at(lambda own: own.solution.value.state, credit, moved)
        return eqx.tree_at(lambda own: own.gradient.output, credit, nothing)

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
