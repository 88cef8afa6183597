"""Phantom gradients and Jacobian-free backpropagation, from their definitions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import credit, flat, inputs, labels, recurrent

import leastcontrol as lc

SOFT = lc.CrossEntropy(softness=0.01)
TIGHT = lc.Tolerance(1e-12)
SOLVER = lc.FixedPoint(max_steps=500)


def unrolled(system, x, labels, steps, damping):
    """Returns the mean loss after a few damped steps from a rest point that is held constant."""
    free = lc.free_equilibrium(
        system, jax.vmap(system.drive)(x), solver=SOLVER, tolerance=TIGHT
    ).value

    def loss(system):
        def one(x, state, label):
            for _ in range(steps):
                state = state + damping * system.vector_field(state, system.drive(x))
            return SOFT(system.readout(state), label)

        return jnp.mean(jax.vmap(one)(x, jax.lax.stop_gradient(free), labels))

    return flat(eqx.filter_jit(eqx.filter_grad(loss))(system))


@pytest.mark.parametrize(("steps", "damping"), [(1, 1.0), (3, 0.6)])
def test_it_is_backpropagation_through_a_few_damped_steps(steps, damping):
    system, x = recurrent(), inputs()
    rule = lc.PhantomGradient(SOFT, steps, damping, TIGHT, SOLVER)
    result = credit(rule, system, lc.Batch(x, labels()))
    assert lc.solved(result.solution).all()
    expected = unrolled(system, x, labels(), steps, damping)
    np.testing.assert_allclose(flat(result.gradient), expected, atol=1e-9)


def test_jacobian_free_backpropagation_takes_one_full_step():
    system, batch = recurrent(), lc.Batch(inputs(), labels())
    free = lc.jacobian_free_backpropagation(SOFT, tolerance=TIGHT, solver=SOLVER)
    one = lc.PhantomGradient(SOFT, 1, 1.0, TIGHT, SOLVER)
    assert jnp.array_equal(*(flat(credit(r, system, batch).gradient) for r in (free, one)))


def test_many_steps_are_recurrent_backpropagation():
    system, batch = recurrent(), lc.Batch(inputs(), labels())
    many = lc.PhantomGradient(SOFT, 200, 0.8, TIGHT, SOLVER)
    exact = lc.RecurrentBackpropagation(SOFT, TIGHT, SOLVER)
    a, b = (flat(credit(rule, system, batch).gradient) for rule in (many, exact))
    np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(("steps", "damping"), [(0, 0.5), (3, 0.0), (3, 1.5)])
def test_steps_and_damping_out_of_range_are_refused(steps, damping):
    with pytest.raises(ValueError, match=r"steps=.*damping=.*write PhantomGradient"):
        lc.PhantomGradient(SOFT, steps, damping)
