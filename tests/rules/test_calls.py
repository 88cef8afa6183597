"""What a call of `settle` and of an estimator costs beside its compiled step: traces of f.

A trace is counted where f runs, since f runs for nothing else.
"""

import functools
import gc
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import leastcontrol as lc

WEIGHT = 0.3 * jnp.eye(3)
X = jnp.linspace(-1, 1, 12).reshape(4, 3)
START = jnp.zeros(3)
TRACES = []


def field(w, state, x):
    TRACES.append(None)
    return jnp.tanh(w @ state + x) - state


def retraces(call, times=5):
    """Counts the traces of f in calls after a first one."""
    call()
    before = len(TRACES)
    for _ in range(times):
        call()
    return len(TRACES) - before


def reference(w):
    return lc.settle(field, w, X, start=START).value


# --- settle


class Scaled(eqx.Module):
    factor: jax.Array

    def __call__(self, w, state, x):
        return field(self.factor * w, state, x)

    def by_method(self, w, state, x):
        return self(w, state, x)


def scaled(factor, w, state, x):
    return field(factor * w, state, x)


def nested(factor):
    inner = lambda w: factor * w  # noqa: E731
    return lambda w, state, x: field(inner(w), state, x)


KINDS = {
    "module": Scaled,
    "method of a module": lambda factor: Scaled(factor).by_method,
    "partial": lambda factor: functools.partial(scaled, factor),
    "closure": nested,
    "default": lambda factor: lambda w, state, x, by=factor: field(by * w, state, x),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_function_that_is_made_anew_is_not_traced_again(make):
    call = lambda factor: lc.settle(make(jnp.asarray(factor)), WEIGHT, X, start=START)  # noqa: E731
    assert retraces(lambda: call(0.5)) == 0
    # And what it holds is an argument, not a constant of what was compiled.
    np.testing.assert_allclose(call(1.5).value, reference(1.5 * WEIGHT), atol=1e-6)


def test_a_gradient_is_not_traced_again_and_passes_through_what_f_closes_over():
    def total(factor):
        f = lambda w, state, x: field(factor * w, state, x)  # noqa: E731
        return jnp.sum(lc.settle(f, WEIGHT, X, start=START).value ** 2)

    assert retraces(lambda: jax.grad(total)(0.5)) == 0
    assert abs(jax.grad(total)(0.5)) > 0


@pytest.mark.slow
def test_an_f_of_an_object_that_changes_is_traced_in_every_call():
    class Model:
        factor = 0.5

        def __call__(self, w, state, x):
            return field(self.factor * w, state, x)

        def method(self, w, state, x):
            return self(w, state, x)

    model, array = Model(), np.full((3, 3), 0.5)
    of_numpy = lambda w, state, x: field((array if array.any() else 0) * w, state, x)  # noqa: E731
    for f in (model, model.method, of_numpy):
        np.testing.assert_allclose(
            lc.settle(f, WEIGHT, X, start=START).value, reference(0.5 * WEIGHT), atol=1e-6
        )
    model.factor = 1.5
    np.testing.assert_allclose(
        lc.settle(model.method, WEIGHT, X, start=START).value,
        reference(1.5 * WEIGHT),
        atol=1e-6,
    )


GAIN = jnp.asarray(0.5)


def by_gain(w):
    return GAIN * w


def of_the_module(w, state, x):
    return field(by_gain(w), state, x)


@pytest.mark.parametrize("gain", [jnp.asarray(1.5), 1.5, np.asarray(1.5)], ids=["jax", "", "numpy"])
def test_a_name_of_the_module_that_is_bound_anew_is_seen(gain, monkeypatch):
    call = lambda: lc.settle(of_the_module, WEIGHT, X, start=START)  # noqa: E731
    assert retraces(call) == 0
    monkeypatch.setitem(globals(), "GAIN", gain)
    np.testing.assert_allclose(call().value, reference(1.5 * WEIGHT), atol=1e-6)


def test_weak_types_are_those_of_strong_ones():
    lc.settle(field, WEIGHT, X, start=START)
    before = len(TRACES)
    for weak in (jnp.full((3, 3), 0.1), jnp.where(WEIGHT > 0, 0.1, 0.2)):
        assert weak.weak_type
        lc.settle(field, weak, X, start=jnp.full(3, 0.1))
    assert len(TRACES) == before


def test_no_cache_keeps_what_f_closes_over():
    factor = jnp.asarray(0.5)
    lc.settle(nested(factor), WEIGHT, X, start=START)
    kept = weakref.ref(factor)
    del factor
    gc.collect()
    assert kept() is None


# --- an estimator


def readout(params, state):
    return params["D"] @ state


def steep(params, state, x):
    """Contracts where x is small, and is to be solved by Newton's method where it is not."""
    TRACES.append(None)
    return -(params["W"] @ state + jnp.sum(x**2) * state - x)


PARAMS = {"W": jnp.eye(3), "D": jnp.ones((2, 3))}
LABELS = jnp.asarray([0, 1, 1, 0])


@pytest.mark.slow
def test_the_loop_of_the_readme_passes_on_what_is_not_learned():
    static = "populations"

    def f(params, state, x):
        TRACES.append(None)
        assert params["name"] == static
        drive = jnp.where(params["mask"], x, 0) * params["count"]
        return jnp.tanh(params["W"] @ state + drive) - state

    params = {
        "W": jnp.full((3, 3), 0.1),
        "D": jnp.where(jnp.eye(2, 3) > 0, 0.1, 0.2),
        "mask": jnp.asarray([True, False, True]),
        "count": jnp.asarray(2),
    }
    whole = lambda params: {**params, "name": static}  # noqa: E731
    estimate = lc.least_control(f, readout, lc.CrossEntropy(), start=START)
    optimiser = optax.adam(5e-3)
    moments = optimiser.init(params)
    values, first = [], None
    for _ in range(4):
        value, gradient, solution = estimate(whole(params), X, LABELS)
        first = len(TRACES) if first is None else first
        assert gradient.pop("name") is None
        updates, moments = optimiser.update(gradient, moments)
        params = optax.apply_updates(params, updates)
        values.append(float(value))
    assert lc.solved(solution).all()
    assert values[-1] < values[0]
    assert params["count"] == 2
    np.testing.assert_array_equal(params["mask"], [True, False, True])
    # Its first params are weakly typed, and its later ones are not.
    assert len(TRACES) == first


@pytest.mark.slow
def test_the_safeguard_is_compiled_when_a_batch_needs_it():
    estimate = lc.least_control(steep, readout, lc.CrossEntropy(), start=START)
    call = lambda x: estimate(PARAMS, x, LABELS)  # noqa: E731
    before = len(TRACES)
    call(0.3 * X)
    quick = len(TRACES) - before
    assert retraces(lambda: call(0.2 * X)) == 0
    # Nor does a gradient of the value need it.
    slope = jax.grad(lambda x: estimate(PARAMS, x, LABELS)[0])
    slope(0.3 * X)
    assert len(TRACES) - before <= 2 * quick
    *_, solution = call(4 * X)
    assert lc.solved(solution).all()
    assert len(TRACES) - before > 3 * quick
    assert retraces(lambda: call(0.2 * X)) == 0
    # A program of one's own has both from the beginning.
    *_, expected = jax.jit(lambda x: estimate(PARAMS, x, LABELS))(4 * X)
    assert lc.solved(expected).all()
