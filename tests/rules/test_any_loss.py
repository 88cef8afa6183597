"""Rules with a plain function for a loss, against the closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SIZE,
    credit,
    flat,
    function_system,
    inputs,
    labels,
    recurrent,
    soft,
    timescales,
    timescales_readout,
    vectors,
)

import leastcontrol as lc
from leastcontrol.equilibrium import RESULTS

START = {"fast": jnp.zeros(3), "slow": jnp.zeros(4)}
PARAMS = function_system().params
TIGHT = lc.Tolerance(1e-10)


def squared(output, target):
    return 0.5 * jnp.sum((output - target) ** 2)


def entropy(output, target):
    return -jnp.sum(target * jax.nn.log_softmax(output))


@pytest.mark.parametrize(
    "rule_of",
    [
        lambda loss: lc.RecurrentBackpropagation(loss, TIGHT),
        lambda loss: lc.LeastControl(lc.DynamicInversion(TIGHT), 2.0, loss=loss),
        pytest.param(
            lambda loss: lc.LeastControl(lc.Exact(TIGHT), 0.1, loss=loss), marks=pytest.mark.slow
        ),
        pytest.param(
            lambda loss: lc.EquilibriumPropagation(lc.DynamicInversion(TIGHT), 0.1, loss=loss),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["recurrent-backpropagation", "dynamic-inversion", "exact", "equilibrium-propagation"],
)
def test_a_function_gives_what_the_closed_form_gives(rule_of):
    system, x, targets = recurrent(), inputs(4), soft(labels(4), 0.1)
    derived = credit(rule_of(entropy), system, lc.Batch(x, targets))
    closed = credit(rule_of(lc.CrossEntropy()), system, lc.Batch(x, targets))
    assert lc.solved(derived.solution).all()
    np.testing.assert_allclose(flat(derived.gradient), flat(closed.gradient), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(derived.objective, closed.objective, rtol=1e-8)


def heads(params, state):
    output = timescales_readout(params, state)
    return {"class": output[:2], "map": jnp.stack([output, 2 * output])}


def loss_of_heads(output, target):
    """A label for one head, and a picture with a mask for the other."""
    difference = jnp.where(target["mask"], output["map"] - target["map"], 0)
    return entropy(output["class"], jax.nn.one_hot(target["label"], 2)) + jnp.sum(
        jnp.sqrt(1 + difference**2)
    )


@pytest.mark.slow
def test_outputs_and_targets_may_be_pytrees_and_the_gradient_is_exact():
    targets = {
        "label": labels(4) % 2,
        "map": jnp.stack([vectors(4), vectors(4, 1)], axis=1),
        "mask": jax.random.bernoulli(jax.random.key(1), 0.7, (4, 2, SIZE)),
    }
    estimate = lc.least_control(
        timescales, heads, loss_of_heads, start=START, leak=0.5, controller=lc.Exact(TIGHT)
    )
    x = inputs(4)
    value, gradient, solution = estimate(PARAMS, x, targets)
    assert lc.solved(solution).all()
    assert solution.value.output_control.shape == (4, 2 + 2 * SIZE)
    step, moved = (
        1e-5,
        jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), PARAMS),
    )
    at = lambda sign: estimate(  # noqa: E731
        jax.tree.map(lambda p, m: p + sign * step * m, PARAMS, moved), x, targets
    )[0]
    along = sum(jnp.sum(gradient[name] * moved[name]) for name in PARAMS)
    np.testing.assert_allclose(along, (at(1) - at(-1)) / (2 * step), rtol=1e-6)
    # The value is the energy of the solution, from its definition.
    point = solution.value
    read = jax.vmap(lambda state: jax.flatten_util.ravel_pytree(heads(PARAMS, state))[0])(
        point.state
    )
    output = read + point.output_control
    cut = {"class": output[:, :2], "map": output[:, 2:].reshape(4, 2, SIZE)}
    energy = 0.5 * sum(
        jnp.sum(leaf**2) for leaf in jax.tree.leaves((point.control, point.output_control))
    )
    energy = energy + jnp.sum(jax.vmap(loss_of_heads)(cut, targets)) / 0.5
    np.testing.assert_allclose(value, energy / 4, rtol=1e-8)


def test_a_loss_that_is_not_finite_for_a_target_leaves_its_sample_unsolved():
    targets = vectors(4).at[1].set(jnp.nan)
    solution = credit(
        lc.LeastControl(lc.DynamicInversion(), 0.5, loss=squared),
        recurrent(),
        lc.Batch(inputs(4), targets),
    ).solution
    np.testing.assert_array_equal(lc.solved(solution), [True, False, True, True])


def well(output, target):
    """Is convex outside of |y| < 1/√3, with its minima at ±1."""
    del target
    return jnp.sum((output**2 - 1) ** 2) / 4


@pytest.mark.parametrize(
    "controller",
    [
        lc.DynamicInversion(),
        pytest.param(lc.Automatic(), marks=pytest.mark.slow),
        pytest.param(lc.Exact(), marks=pytest.mark.slow),
    ],
)
def test_a_loss_that_bends_down_where_the_solve_ends_is_named(controller):
    # The readout is c + u: f = x − φ, so that φ = x + ψ and ψ = u.
    system = lc.FunctionSystem(lambda p, s, x: p * x - s, lambda p, s: s, jnp.ones(1), jnp.zeros(1))
    x = jnp.asarray([[0.0], [1.2]])
    rule = lambda unsolved: lc.LeastControl(controller, 4.0, loss=well, unsolved=unsolved)  # noqa: E731
    batch = lc.Batch(x, jnp.zeros((2, 1)))
    dropped = credit(rule(lc.Drop()), system, batch)
    assert (dropped.solution.result == RESULTS.not_convex)[0]
    assert "not convex at the output" in RESULTS[RESULTS.not_convex]
    np.testing.assert_array_equal(lc.solved(dropped.solution), [False, True])
    assert dropped.count == 1
    assert (dropped.solution.stats.error > 1)[0]
    assert credit(rule(lc.Keep()), system, batch).count == 2


@pytest.mark.slow
@pytest.mark.parametrize("controller", [lc.DynamicInversion(), lc.Exact()])
@pytest.mark.parametrize("loss", [lc.CrossEntropy(), lambda y, t: -jax.nn.log_softmax(y)[t]])
def test_memory_is_linear_in_the_number_of_classes(loss, controller):
    def bytes_of(classes):
        params = {"w": jnp.zeros((4, 4)), "d": jnp.zeros((classes, 4))}
        estimate = lc.least_control(
            lambda p, s, x: jnp.tanh(p["w"] @ s + x) - s,
            lambda p, s: p["d"] @ s,
            loss,
            start=jnp.zeros(4),
            controller=controller,
        )
        arguments = params, jnp.zeros((8, 4)), jnp.zeros(8, int)
        compiled = jax.jit(estimate).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = bytes_of(500), bytes_of(2000)
    # Four times as many classes. The compiler fuses other operations for other sizes; what grows
    # with the square would grow sixteen times, and one matrix of classes by classes has 32 MB.
    assert many < 6 * few
    assert many < 8e6
