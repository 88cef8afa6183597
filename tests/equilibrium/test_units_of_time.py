"""A rest point does not depend on the unit of time: f is multiplied by rates from 1e-6 to 1e4."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KEY

import leastcontrol as lc
from leastcontrol.equilibrium import ControlProblem, JointProblem, Point, Sample, free_equilibrium

SIZE, BATCH = 8, 6
RATES = (1e-6, 1e-4, 1e-3, 1.0, 1e3, 1e4)
KEYS = jax.random.split(KEY, 3)
PARAMS = {
    "w": 0.8 * jax.random.orthogonal(KEYS[0], SIZE),
    "u": jax.random.normal(KEYS[1], (SIZE, 3)),
    "d": jax.random.normal(KEYS[2], (2, SIZE)) / 3,
    "rate": jnp.ones(()),
}
INPUTS = jax.random.normal(jax.random.fold_in(KEY, 7), (BATCH, 3))
TARGETS = jax.random.normal(jax.random.fold_in(KEY, 8), (BATCH, 2))


def field(params, state, x):
    settled = jnp.tanh(params["w"] @ state + params["u"] @ x) - state
    return (params["rate"] * settled).astype(state.dtype)


def system(rate, dtype=jnp.float64):
    params = {name: leaf.astype(dtype) for name, leaf in PARAMS.items()} | {
        "rate": jnp.asarray(rate, dtype)
    }
    return lc.FunctionSystem(field, lambda p, s: p["d"] @ s, params, jnp.zeros(SIZE, dtype))


def rest(inputs):
    """The rest points, by many steps of the contraction itself."""
    state = jnp.zeros(SIZE)
    for _ in range(400):
        state = jnp.tanh(PARAMS["w"] @ state + PARAMS["u"] @ inputs)
    return state


REST = jax.vmap(rest)(INPUTS)


def distances(states, reference):
    off = np.linalg.norm(np.asarray(states, np.float64) - reference, axis=1)
    return off / np.linalg.norm(reference, axis=1)


settle = eqx.filter_jit(free_equilibrium)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("rate", RATES)
def test_a_free_rest_point_is_found_in_any_unit(rate, dtype):
    solution = settle(system(rate, dtype), INPUTS.astype(dtype), solver=lc.TrustRegion())
    assert lc.solved(solution).all()
    assert distances(solution.value, REST).max() < 1e-3


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("rate", [*RATES, 0.05])
def test_no_state_is_called_solved_that_is_off(rate, dtype):
    """Plain steps follow few of the rates; where they do not, they say so."""
    solution = settle(
        system(rate, dtype), INPUTS.astype(dtype), solver=lc.FixedPoint(max_steps=2000)
    )
    off = distances(solution.value, REST)
    solved = np.asarray(lc.solved(solution))
    assert off[solved].max(initial=0) < 1e-3
    assert solved.all() == (rate in (1.0, 0.05))


def test_states_that_are_right_are_called_so():
    from leastcontrol.equilibrium import certify_free

    nearly = REST * (1 + 1e-6 * jnp.sign(jax.random.normal(KEY, REST.shape)))
    wrong = REST * (1 + 1e-2 * jnp.sign(jax.random.normal(KEY, REST.shape)))
    steps = jnp.zeros(BATCH, jnp.int32)
    for rate in RATES:
        good, bad = (
            certify_free(system(rate), INPUTS, states, steps, lc.Tolerance())
            for states in (nearly, wrong)
        )
        assert lc.solved(good).all()
        assert not lc.solved(bad).any()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("rate", RATES)
def test_exact_control_is_found_in_any_unit(rate, dtype):
    """In other units the least control is another one: the reference is that of this f.

    It is the minimum of F = ½‖f‖² + ½‖y − h‖² + L/α, by Newton's method on the dense problem.
    """
    network = system(rate, dtype)
    rule = lc.LeastControl(lc.Exact(), 1.0, loss=lc.SquaredError())
    batch = lc.Batch(INPUTS.astype(dtype), TARGETS.astype(dtype))
    credit = eqx.filter_jit(rule)(network, None, batch)
    solved = np.asarray(lc.solved(credit.solution))
    # There the curvature spans 12 decades, which single precision cannot tell from a flat one.
    if dtype == jnp.float64 or rate > 1e-6:
        assert solved.all()
    params = PARAMS | {"rate": jnp.asarray(rate)}

    def energy(state, x, target):
        error = params["d"] @ state - target
        # Least over u: ½‖u‖² + ½‖h + u − t‖² = ¼‖h − t‖².
        return 0.5 * jnp.sum(field(params, state, x) ** 2) + 0.25 * jnp.sum(error**2)

    def least(state, x, target):
        for _ in range(10):
            slope, bend = jax.grad(energy)(state, x, target), jax.hessian(energy)(state, x, target)
            state = state - jnp.linalg.solve(bend, slope)
        return state

    states = jnp.asarray(credit.solution.value.state, jnp.float64)
    reference = jax.jit(jax.vmap(least))(states, INPUTS, TARGETS)
    assert distances(states, reference)[solved].max(initial=0) < 1e-3


@pytest.mark.slow
def test_what_an_iteration_ended_with_is_what_is_said_of_it():
    """A linear f, where the last digits of two measurements differ most."""
    matrix = -jnp.eye(3) + 0.3 * jax.random.normal(KEY, (3, 3))
    linear = lc.FunctionSystem(lambda p, s, x: p @ s + x, lambda p, s: s, matrix, jnp.zeros(3))
    inputs = jax.random.normal(KEY, (2000, 3))
    for solver in (lc.FixedPoint(max_steps=300), lc.TrustRegion()):
        assert lc.solved(settle(linear, inputs, solver=solver)).all()
    for controller in (lc.Energy(), lc.Exact(), lc.DynamicInversion()):
        rule = lc.LeastControl(controller, 2.0, loss=lc.SquaredError())
        some = inputs[:200]
        credit = eqx.filter_jit(rule)(linear, None, lc.Batch(some, 0.5 * some))
        assert lc.solved(credit.solution).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("controller", "rate"),
    # Descent of the energy by unit steps is not for an energy that is a million times as steep.
    [(lc.Exact(), 1e-3), (lc.Exact(), 1e3), (lc.Energy(), 1e-3), (lc.Energy(), 1.0)],
)
def test_a_target_that_the_free_system_meets_needs_no_control(controller, rate):
    """Where control is zero, the rate is not that along it: 0 ‖φ‖ would allow no rounding."""
    network = system(rate)
    outputs = jax.vmap(network.readout)(REST)
    problem = lc.ControlProblem(network, lc.SquaredError(), jnp.asarray(0.5))
    start = Point(REST, jnp.zeros_like(REST), jnp.zeros_like(outputs))
    samples = Sample(INPUTS, outputs, start)
    solution = eqx.filter_jit(controller.equilibrium)(problem, samples)
    assert lc.solved(solution).all()
    assert np.asarray(solution.stats.control_norm).max() < 1e-9


@pytest.mark.parametrize("plain", [True, False])
def test_a_joint_iterate_is_judged_by_the_rate_along_the_last_step(plain):
    network, leak, tolerance = system(0.05), 2.0, lc.Tolerance()
    problem = ControlProblem(network, lc.SquaredError(), leak)
    sample = Sample(network.drive(INPUTS[0]), TARGETS[0])
    joint = JointProblem(problem, tolerance, plain=plain)
    before = joint.initial(sample)
    last, _, _ = joint.iterate(sample, before)
    _, measured, error = joint.iterate(sample, last)

    f = lambda state: network.vector_field(state, sample.drive)  # noqa: E731
    state, control, u = measured.point
    change, pull = jax.vjp(f, state)
    optimality = pull(control)[0] + PARAMS["d"].T @ u
    output = PARAMS["d"] @ state
    step = state - before.point.state
    rate = jnp.linalg.norm(change - f(before.point.state)) / jnp.linalg.norm(step)
    size = jnp.sqrt(jnp.sum(control**2) + jnp.sum(u**2))
    # The terms of rounding are 1e-10 of these.
    expected = max(
        jnp.linalg.norm(change + control) / (1e-5 * size),
        jnp.linalg.norm(optimality) / (rate * 1e-5 * size),
        jnp.linalg.norm(leak * u + output - TARGETS[0]) / (leak * 1e-5 * size),
    )
    np.testing.assert_allclose(error, expected, rtol=1e-6)
    assert rate < 0.1
