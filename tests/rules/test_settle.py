"""`settle` under JAX's transformations, against unrolling, finite differences and dense algebra.

The reference of most tests is the same f iterated in a scan that JAX differentiates step by step.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import leastcontrol as lc
from leastcontrol.equilibrium import RESULTS

TIGHT = lc.Tolerance(1e-13)
KEYS = jax.random.split(jax.random.key(18), 8)
BATCH = 5
START = {"fast": jnp.zeros(3), "slow": jnp.zeros(())}


def field(params, state, x):
    """Two coupled populations; x has a mask, a count and a key beside its floating-point array."""
    noise = jnp.where(x["mask"], 0.1, 0.0) * jax.random.normal(x["key"], ())
    drive = params["U"] @ x["drive"] + state["slow"] + noise
    fast = jnp.tanh(params["W"] @ state["fast"] + drive) - state["fast"]
    slow = 0.3 * x["count"] * jnp.sum(state["fast"] ** 2) - state["slow"]
    return {"fast": fast, "slow": params["rate"] * slow}


PARAMS = {
    "W": 0.3 * jax.random.normal(KEYS[0], (3, 3)),
    "U": jax.random.normal(KEYS[1], (3, 2)),
    "rate": jnp.asarray(0.6),
    "name": "populations",
}
X = {
    "drive": jax.random.normal(KEYS[2], (BATCH, 2)),
    "mask": jnp.asarray([True, False, True, True, False]),
    "count": jnp.arange(BATCH) % 3,
    "key": jax.random.split(KEYS[3], BATCH),
}


def settled(params, x, **options):
    return lc.settle(field, params, x, start=START, **{"tolerance": TIGHT, **options})


def score(value):
    return jnp.sum(jnp.sin(value["fast"])) + jnp.sum(value["slow"] ** 3)


def unrolled(params, x, steps=120, f=field, start=START):
    def of_one(x):
        step = lambda state, _: (jax.tree.map(jnp.add, state, f(params, state, x)), None)  # noqa: E731
        return jax.lax.scan(step, start, None, length=steps)[0]

    return jax.vmap(of_one)(x)


def split(tree):
    return eqx.partition(tree, eqx.is_inexact_array)


def close(first, second, rtol=1e-9):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), first, second)


# --- the derivatives


def test_gradients_in_params_and_x_are_those_of_unrolling():
    of = lambda solve: eqx.filter_jit(  # noqa: E731
        eqx.filter_grad(lambda both: score(solve(*both)))
    )((PARAMS, X))
    (params, x), (expected_params, expected_x) = (
        of(lambda *both: settled(*both).value),
        of(unrolled),
    )
    close(params, expected_params)
    close(x, expected_x)
    # What is not of floating point has no gradient, and f still saw it.
    assert {x["mask"], x["count"], x["key"]} == {None}
    solution = eqx.filter_jit(settled)(PARAMS, X)
    assert lc.solved(solution).all()
    close(solution.value, unrolled(PARAMS, X), 1e-11)


def test_derivatives_are_finite_differences_in_both_modes():
    learned, fixed = split((PARAMS, X))
    of = eqx.filter_jit(lambda learned: score(settled(*eqx.combine(learned, fixed)).value))
    check_grads(of, (learned,), order=1, modes=["fwd", "rev"], rtol=1e-6, eps=1e-4)


@pytest.mark.slow
def test_the_tangent_of_a_gradient_is_that_of_unrolling():
    moved, rest = {"W": PARAMS["W"]}, {"U": PARAMS["U"], "rate": PARAMS["rate"]}

    def product(solve):
        slope = jax.grad(lambda learned: score(solve({**learned, **rest}, X)))
        return jax.jit(lambda m: jax.jvp(slope, (m,), ({"W": jnp.ones((3, 3))},)))(moved)

    close(product(lambda *both: settled(*both).value), product(unrolled))


def test_the_adjoint_of_dense_implicit_differentiation():
    weight = 0.4 * jax.random.normal(KEYS[4], (4, 4))
    x = jax.random.normal(KEYS[5], (BATCH, 4))
    cotangents = jax.random.normal(KEYS[6], (BATCH, 4))
    f = lambda w, state, x: jnp.tanh(w @ state + x) - state  # noqa: E731
    states, pull = jax.vjp(
        lambda w, x: lc.settle(f, w, x, start=jnp.zeros(4), tolerance=TIGHT).value, weight, x
    )
    of_weight, of_x = pull(cotangents)
    expected_weight = np.zeros((4, 4))
    for state, sample, cotangent, slope_of_x in zip(states, x, cotangents, of_x, strict=True):
        slope = np.diag(1 - np.tanh(weight @ state + sample) ** 2)
        jacobian = slope @ np.asarray(weight) - np.eye(4)
        adjoint = -np.linalg.solve(jacobian.T, np.asarray(cotangent))
        np.testing.assert_allclose(slope_of_x, slope @ adjoint, rtol=1e-10)
        expected_weight += np.outer(slope @ adjoint, state)
    np.testing.assert_allclose(of_weight, expected_weight, rtol=1e-10)


@pytest.mark.slow
def test_a_field_that_does_not_contract_is_settled_and_differentiated_by_a_trust_region():
    # Fixed points of a steep cubic, (p + x) − s³ = 0: a unit step overshoots by a factor of 11.
    f = lambda p, state, x: p + x - state**3  # noqa: E731
    x = jnp.asarray([[7.0, 26.0], [0.7, 62.0]])

    @jax.jit
    def slope(p):
        solve = lambda p: lc.settle(  # noqa: E731
            f, p, x, start=jnp.ones(2), solver=lc.TrustRegion(), tolerance=TIGHT
        )
        return (
            solve(p),
            jax.jacrev(lambda p: solve(p).value)(p),
            jax.jacfwd(lambda p: solve(p).value)(p),
        )

    solution, reverse, forward = slope(jnp.asarray(1.0))
    roots = np.cbrt(1.0 + x)
    assert lc.solved(solution).all()
    np.testing.assert_allclose(solution.value, roots, rtol=1e-10)
    np.testing.assert_allclose(reverse, 1 / (3 * roots**2), rtol=1e-8)
    np.testing.assert_allclose(forward, 1 / (3 * roots**2), rtol=1e-8)
    assert not lc.solved(lc.settle(f, 1.0, x, start=jnp.ones(2))).any()


@pytest.mark.slow
def test_an_optimistix_solver_settles_and_differentiates_too():
    solver = lc.Anderson(rtol=1e-12, atol=1e-12)
    f = lambda w, state, x: jnp.tanh(w * state + x) - state  # noqa: E731
    x = jnp.linspace(-1, 1, 3)[:, None]
    of = lambda w, solver: jnp.sum(  # noqa: E731
        lc.settle(f, w, x, start=jnp.zeros(1), solver=solver, tolerance=lc.Tolerance(1e-9)).value
        ** 2
    )
    slope = jax.jit(jax.grad(of), static_argnums=1)
    np.testing.assert_allclose(slope(0.5, solver), slope(0.5, None), rtol=1e-6)


def test_what_f_closes_over_has_a_gradient():
    def total(w, x):
        f = lambda _, state, x: jnp.tanh(w * state + x) - state  # noqa: E731
        return jnp.sum(lc.settle(f, None, x, start=jnp.zeros(2), tolerance=TIGHT).value)

    x = jnp.asarray([[0.3, -0.2]])
    root = lc.settle(
        lambda w, s, x: jnp.tanh(w * s + x) - s, 0.5, x, start=jnp.zeros(2), tolerance=TIGHT
    ).value
    by_hand = jnp.sum((1 - root**2) * root / (1 - 0.5 * (1 - root**2)))
    np.testing.assert_allclose(jax.grad(total)(0.5, x), by_hand, rtol=1e-10)


# --- the transformations


@pytest.mark.slow
def test_an_ensemble_a_scan_and_a_checkpoint_change_nothing():
    factors = jnp.asarray([0.5, 1.0, 1.2])
    x = X["drive"]
    f = lambda w, state, x: jnp.tanh(w @ state + PARAMS["U"] @ x) - state  # noqa: E731

    def of_factor(factor):
        states = lc.settle(f, factor * PARAMS["W"], x, start=jnp.zeros(3), tolerance=TIGHT).value
        return jnp.sum(jnp.sin(states))

    slope = jax.value_and_grad(of_factor)
    one_by_one = [slope(factor) for factor in factors]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    close(jax.jit(jax.vmap(slope))(factors), expected, 1e-12)
    scanned = lambda factors: jax.lax.scan(  # noqa: E731
        lambda total, factor: (total + jax.checkpoint(of_factor)(factor), None), 0.0, factors
    )[0]
    close(jax.jit(jax.grad(scanned))(factors), expected[1], 1e-12)


def test_a_shard_map_over_the_batch_changes_nothing():
    # One device suffices for the types that arrays have inside of the map.
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, some = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")

    def total(w, x):
        f = lambda w, state, x: jnp.tanh(w @ state + PARAMS["U"] @ x) - state  # noqa: E731
        return jnp.sum(lc.settle(f, w, x, start=jnp.zeros(3)).value ** 2)

    mapped = jax.shard_map(
        lambda w, x: jax.lax.psum(total(w, x), "batch"),
        mesh=mesh,
        in_specs=(whole, some),
        out_specs=whole,
        # As in `InParts`: the check does not accept loops whose lengths differ between devices.
        check_vma=False,
    )
    slopes = [jax.jit(jax.grad(of))(PARAMS["W"], X["drive"]) for of in (mapped, total)]
    close(*slopes, 1e-12)


def test_memory_does_not_depend_on_the_number_of_steps():
    def memory(max_steps):
        solver = lc.FixedPoint(max_steps=max_steps)
        slope = jax.grad(
            lambda w: jnp.sum(
                lc.settle(
                    lambda w, s, x: jnp.tanh(w @ s + x) - s,
                    w,
                    jnp.ones((4, 8)),
                    start=jnp.zeros(8),
                    solver=solver,
                ).value
            )
        )
        return jax.jit(slope).lower(jnp.eye(8)).compile().memory_analysis().temp_size_in_bytes

    assert memory(10) == memory(1000)


# --- the start


def test_a_start_is_for_one_sample_or_for_each_and_has_no_gradient():
    f = lambda w, state, x: jnp.tanh(w @ state + x) - state  # noqa: E731
    w, x = 0.3 * jnp.eye(3), jax.random.normal(KEYS[7], (BATCH, 3))
    cold = lc.settle(f, w, x, start=jnp.zeros(3))
    warm = lc.settle(f, w, x, start=cold.value)
    assert (cold.stats.steps > 2).all()
    assert (warm.stats.steps <= 2).all()
    close(warm.value, cold.value, 1e-4)
    learned = jax.jit(jax.grad(lambda start: jnp.sum(lc.settle(f, w, x, start=start).value)))(
        0.1 * jnp.ones(3)
    )
    assert not learned.any()
    # As many samples as neurons: the shapes of f decide.
    square = lc.settle(f, w, x[:3], start=jnp.zeros(3))
    close(square.value, cold.value[:3], 1e-4)
    # A weak type would change inside the solver's loop.
    assert lc.solved(lc.settle(f, w, x, start=jnp.full(3, 0.1))).all()


@pytest.mark.parametrize(
    ("x", "start", "sentence"),
    [
        ([[1.0, 2.0]], jnp.zeros(2), "x holds a Python float"),
        (jnp.asarray(1.0), jnp.zeros(2), "x holds a scalar"),
        ((jnp.ones((2, 2)), jnp.ones((3, 2))), jnp.zeros(2), r"first axes of x are \[2, 3\]"),
        ((), jnp.zeros(2), r"first axes of x are \[\]"),
        (jnp.ones((3, 2)), jnp.zeros(2, int), "`start` holds an array of dtype int64"),
        (jnp.ones((3, 2)), jnp.zeros(()), r"f returned float64\[2\] for the state"),
        (jnp.ones((3, 2), jnp.float32), jnp.zeros(2, jnp.float32), "f returned float64"),
    ],
)
def test_what_does_not_fit_is_said(x, start, sentence):
    f = lambda w, state, x: w * jax.tree.leaves(x)[0] - state  # noqa: E731
    with pytest.raises(ValueError, match=sentence):
        lc.settle(f, jnp.ones(2), x, start=start)


# --- samples that are not solved


def hard(w, state, x):
    """Contracts with the rate |w x|; at x = nan nothing is finite."""
    return w * x * jnp.sin(state) + 1 - state


GOOD, RATES = jnp.asarray([[0.2], [0.5]]), jnp.asarray([[0.2], [jnp.nan], [0.5], [40.0]])


def sum_and_count(w, x, **options):
    solution = lc.settle(hard, w, x, start=jnp.full(1, 0.3), tolerance=TIGHT, **options)
    return jnp.sum(jnp.where(lc.solved(solution)[:, None], solution.value**2, 0)), solution


@pytest.mark.slow
def test_samples_that_are_not_solved_add_nothing_and_spoil_nobody():
    slope = jax.jit(jax.value_and_grad(sum_and_count, argnums=(0, 1), has_aux=True))
    (value, solution), (of_w, of_x) = slope(jnp.asarray(1.0), RATES)
    (expected, _), (expected_w, expected_x) = slope(jnp.asarray(1.0), GOOD)
    np.testing.assert_array_equal(lc.solved(solution), [True, False, True, False])
    assert (solution.result == RESULTS.no_finite_point)[1]
    assert jnp.isfinite(solution.value).all()
    close((value, of_w), (expected, expected_w), 1e-12)
    close(of_x[jnp.asarray([0, 2])], expected_x, 1e-12)
    assert not of_x[jnp.asarray([1, 3])].any()
    # Without any sample that counts there is no safe point, and the gradient is zero.
    (_, _), (of_w, of_x) = slope(jnp.asarray(1.0), RATES[1::2])
    assert of_w == 0
    assert not of_x.any()


@pytest.mark.slow
def test_kept_samples_count_at_the_point_that_was_reached():
    short = lc.FixedPoint(max_steps=12)
    x = jnp.asarray([[0.2], [0.5]])

    def total(w, unsolved):
        solution = lc.settle(
            hard, w, x, start=jnp.zeros(1), solver=short, tolerance=TIGHT, unsolved=unsolved
        )
        return jnp.sum(solution.value), solution

    slope = jax.grad(total, has_aux=True)
    kept, solution = slope(0.9, lc.Keep())
    dropped, _ = slope(0.9, lc.Drop())
    assert not lc.solved(solution).any()
    assert dropped == 0
    # Twelve steps of the adjoint equation are a Neumann sum, whose last term is not added.
    bend = 0.9 * x * jnp.cos(solution.value)
    expected = jnp.sum(x * jnp.sin(solution.value) * (1 - bend**11) / (1 - bend))
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_a_backward_solve_that_fails_follows_the_policy():
    f = lambda w, state, x: w * jnp.asarray([[0.0, 2.0], [2.0, 0.0]]) @ state + w * x - w * 1.0  # noqa: E731
    x = jnp.ones((1, 2))

    def total(w, unsolved):
        return jnp.sum(lc.settle(f, w, x, start=jnp.zeros(2), unsolved=unsolved).value[:, 0])

    # The start is at rest, so the forward solve has nothing to do; the backward one diverges.
    assert lc.solved(lc.settle(f, jnp.asarray(1.0), x, start=jnp.zeros(2))).all()
    # Without any sample that was solved on the way back there is no gradient.
    assert jnp.isnan(eqx.filter_jit(jax.grad(total))(jnp.asarray(1.0), lc.Drop()))
    of_x = lambda x, unsolved: jnp.sum(  # noqa: E731
        lc.settle(f, jnp.asarray(1.0), x, start=jnp.zeros(2), unsolved=unsolved).value[:, 0]
    )
    assert jnp.isnan(jax.grad(of_x)(x, lc.Drop())).any()
    with pytest.raises(Exception, match="equilibrium was not found"):
        eqx.filter_jit(jax.grad(of_x))(x, lc.RaiseError())
    by_newton = jax.grad(
        lambda x: jnp.sum(
            lc.settle(f, jnp.asarray(1.0), x, start=jnp.zeros(2), solver=lc.TrustRegion()).value[
                :, 0
            ]
        )
    )(x)
    np.testing.assert_allclose(by_newton, [[0.0, -0.5]], atol=1e-8)


def test_a_sample_that_is_not_solved_on_the_way_back_adds_nothing_to_that_of_others():
    # Both start at rest. A unit step contracts by the gain, and so diverges on the way back for 2.
    swap = jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    f = lambda w, state, gain: gain * swap @ state - state + w - 1.0  # noqa: E731

    def total(w, unsolved):
        states = lc.settle(f, w, jnp.asarray([0.5, 2.0]), start=jnp.zeros(2), unsolved=unsolved)
        return jnp.sum(states.value[:, 0])

    # A state is (w − 1) / (1 − gain).
    slope = jax.grad(total)(jnp.asarray(1.0), lc.Drop())
    np.testing.assert_allclose(slope, 2.0, rtol=1e-4)


def test_the_probe_names_the_samples_that_are_not_solved_on_the_way_back():
    # At rest from the start; the way back contracts for a rate below 1 alone.
    def f(w, state, x):
        return w * x * jnp.roll(state, 1) - state

    x = jnp.asarray([[0.5], [3.0], [0.2], [-2.0]])

    def total(w, probe, weights, unsolved):
        solution = lc.settle(f, w, x, start=jnp.ones((4, 2)) * 0, unsolved=unsolved, probe=probe)
        slope = jnp.asarray([1.0, 2.0])
        return jnp.sum(weights * (solution.value @ slope)) + w, solution

    slope = eqx.filter_jit(
        lambda w, weights, unsolved: jax.grad(total, argnums=(0, 1), has_aux=True)(
            w, jnp.zeros(4), weights, unsolved
        )
    )
    (of_w, missed), solution = slope(jnp.asarray(1.0), jnp.ones(4), lc.Drop())
    assert lc.solved(solution).all()
    np.testing.assert_array_equal(missed, [0, 1, 0, 1])
    # The states are zero, so that f does not change with w.
    assert of_w == 1
    # A sample that the loss does not depend on has nothing to solve.
    (_, missed), _ = slope(jnp.asarray(1.0), jnp.asarray([1.0, 0, 0, 1]), lc.Drop())
    np.testing.assert_array_equal(missed, [0, 0, 0, 1])
    (of_w, missed), _ = slope(jnp.asarray(1.0), jnp.asarray([0.0, 1, 0, 1]), lc.Drop())
    np.testing.assert_array_equal(missed, [0, 1, 0, 1])
    assert jnp.isnan(of_w)
    (_, missed), _ = slope(jnp.asarray(1.0), jnp.ones(4), lc.Keep())
    np.testing.assert_array_equal(missed, [0, 1, 0, 1])
    # Without a probe the gradient is the same, and under vmap each batch has its own.
    plain = jax.grad(lambda w: total(w, None, jnp.ones(4), lc.Drop())[0])(1.0)
    assert plain == 1
    mapped = jax.vmap(lambda w: slope(w, jnp.ones(4), lc.Drop())[0][1])(jnp.asarray([1.0, 0.1]))
    np.testing.assert_array_equal(mapped, [[0, 1, 0, 1], [0, 0, 0, 0]])


def test_a_probe_that_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"The probe is .*write probe=jnp.zeros\(2\)"):
        lc.settle(hard, 1.0, GOOD, start=jnp.zeros(1), probe=jnp.zeros(3))


def test_an_unsolved_sample_raises_where_that_is_asked_for():
    with pytest.raises(Exception, match="equilibrium was not found"):
        eqx.filter_jit(sum_and_count)(1.0, RATES, unsolved=lc.RaiseError())
