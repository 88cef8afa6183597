"""The systems: their vector fields from the papers' formulas, initialisations, refusals."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.special
from helpers import function_system, timescales

import leastcontrol as lc

KEY = jax.random.PRNGKey(5)

ACTIVATIONS = {
    lc.tanh: np.tanh,
    lc.relu: lambda x: np.where(x > 0, x, 0),
    lc.gelu: lambda x: x * 0.5 * (1 + scipy.special.erf(x / np.sqrt(2))),
    lc.identity: lambda x: x,
}


@pytest.fixture
def unchecked_types(monkeypatch):
    """What a user meets who has no run-time type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def numbers(seed, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, seed), shape)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feedforward_is_the_formula(activation):
    system = lc.Feedforward(3, (4, 6), 2, activation=activation, key=KEY)
    sigma = ACTIVATIONS[activation]
    (w1, b1), (w2, b2), (w3, b3) = [
        (np.asarray(layer.weight), np.asarray(layer.bias)) for layer in system.layers
    ]
    assert (w1.shape, w2.shape, w3.shape) == ((4, 3), (6, 4), (2, 6))
    x, first, second = (np.asarray(numbers(i, n)) for i, n in enumerate((3, 4, 6)))
    drive = system.drive(jnp.asarray(x))
    np.testing.assert_allclose(drive, w1 @ x + b1, rtol=1e-12)
    f1, f2 = system.vector_field((jnp.asarray(first), jnp.asarray(second)), drive)
    np.testing.assert_allclose(f1, -first + w1 @ x + b1, rtol=1e-12)
    np.testing.assert_allclose(f2, -second + w2 @ sigma(first) + b2, rtol=1e-12)
    output = system.readout((jnp.asarray(first), jnp.asarray(second)))
    np.testing.assert_allclose(output, w3 @ sigma(second) + b3, rtol=1e-12)
    assert system.output_neurons
    assert [leaf.shape for leaf in system.initial_state(drive)] == [(4,), (6,)]
    assert all(jnp.all(leaf == 0) for leaf in system.initial_state(drive))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_equilibrium_rnn_is_the_formula(activation):
    system = lc.EquilibriumRNN(3, 5, 2, activation=activation, key=KEY)
    sigma = ACTIVATIONS[activation]
    w, u, b = (np.asarray(p) for p in (system.recurrent, system.input.weight, system.input.bias))
    assert (w.shape, u.shape, b.shape) == ((5, 5), (5, 3), (5,))
    x, state = np.asarray(numbers(1, 3)), np.asarray(numbers(2, 5))
    drive = system.drive(jnp.asarray(x))
    np.testing.assert_allclose(drive, u @ x + b, rtol=1e-12)
    field = system.vector_field(jnp.asarray(state), drive)
    np.testing.assert_allclose(field, -state + w @ sigma(state) + u @ x + b, rtol=1e-12)
    expected = np.asarray(system.output.weight) @ sigma(state) + np.asarray(system.output.bias)
    np.testing.assert_allclose(system.readout(jnp.asarray(state)), expected, rtol=1e-12)
    assert system.output_neurons
    assert jnp.array_equal(system.initial_state(drive), jnp.zeros(5))


@pytest.mark.parametrize("depth", [1, 3])
def test_settling_solves_the_controlled_equation(depth):
    system = lc.Feedforward(3, (5,) * depth, 2, key=KEY)
    drive = system.drive(numbers(3, 3))
    control = tuple(numbers(10 + i, 5) for i in range(depth))
    state = system.settle(drive, control)
    assert len(state) == depth
    field = system.vector_field(state, drive)
    for f, psi in zip(field, control, strict=True):
        np.testing.assert_allclose(f, -psi, atol=1e-14)


def test_a_feedforward_system_at_rest_is_its_forward_pass():
    system = lc.Feedforward(3, (4, 6), 2, key=KEY)
    x = numbers(3, 3)
    free = lc.free_equilibrium(system, system.drive(x)[None])
    assert lc.solved(free).all()
    activity = x
    for layer in system.layers[:-1]:
        activity = jnp.tanh(layer.weight @ activity + layer.bias)
    expected = system.layers[-1].weight @ activity + system.layers[-1].bias
    output = system.readout(jax.tree.map(lambda leaf: leaf[0], free.value))
    np.testing.assert_allclose(output, expected, rtol=1e-13)
    assert free.stats.state_residual[0] < 1e-15


@pytest.mark.parametrize("kind", [lc.Feedforward, lc.EquilibriumRNN])
def test_a_key_decides_every_parameter(kind):
    hidden = (7, 7) if kind is lc.Feedforward else 7
    make = lambda seed: jax.tree.leaves(  # noqa: E731
        eqx.filter(kind(4, hidden, 3, key=jax.random.PRNGKey(seed)), eqx.is_inexact_array)
    )
    once, again, other = make(0), make(0), make(1)
    assert all(jnp.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not any(jnp.any(a == b) for a, b in zip(once, other, strict=True))
    # No two arrays are drawn from the same key.
    firsts = [float(leaf.ravel()[0] / jnp.abs(leaf).max()) for leaf in once]
    assert len(set(firsts)) == len(firsts)


def test_fan_in_uniform_fills_its_interval():
    initialisation = lc.FanInUniform()
    for values in (initialisation.weight(KEY, 500, 16), initialisation.bias(KEY, 8000, 16)):
        assert jnp.abs(values).max() <= 0.25
        assert jnp.abs(values).max() > 0.249
        # Of 8000 uniform numbers of deviation 0.25/√3: four standard errors.
        np.testing.assert_allclose(values.mean(), 0, atol=4 * 0.25 / math.sqrt(3 * 8000))
        np.testing.assert_allclose(values.std(), 0.25 / math.sqrt(3), rtol=0.03)
    assert initialisation.weight(KEY, 500, 16).shape == (500, 16)


@pytest.mark.parametrize(
    ("initialisation", "deviation"),
    [
        (lc.XavierNormal(), math.sqrt(2 / 120)),
        (lc.XavierNormal(gain=3.0), 3 * math.sqrt(2 / 120)),
        (lc.XavierUniform(), math.sqrt(2 / 120)),
    ],
)
def test_xavier_weights_have_their_deviation_and_no_bias(initialisation, deviation):
    weight = initialisation.weight(KEY, 80, 40)
    assert weight.shape == (80, 40)
    np.testing.assert_allclose(weight.std(), deviation, rtol=0.05)
    np.testing.assert_allclose(weight.mean(), 0, atol=4 * deviation / math.sqrt(3200))
    if isinstance(initialisation, lc.XavierUniform):
        bound = math.sqrt(6 / 120)
        assert 0.99 * bound < jnp.abs(weight).max() <= bound
    else:
        assert jnp.abs(weight).max() > 2.5 * deviation
    assert jnp.array_equal(initialisation.bias(KEY, 80, 40), jnp.zeros(80))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), (257, 256)])
def test_weights_are_what_a_draw_of_their_own_shape_would_be(shape, wide):
    outputs, inputs = shape
    deviation = math.sqrt(2 / sum(shape))
    with jax.enable_x64(wide):
        uniform = lc.XavierUniform().weight(KEY, *shape) / (math.sqrt(3) * deviation)
        normal = lc.XavierNormal().weight(KEY, *shape) / deviation
        bias = lc.FanInUniform().bias(KEY, *shape) * math.sqrt(inputs)
        expected = jax.random.uniform(KEY, shape, minval=-1, maxval=1)
        assert uniform.dtype == expected.dtype == (jnp.float64 if wide else jnp.float32)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
        close(uniform, expected)
        close(normal, jax.random.normal(KEY, shape))
        close(bias, jax.random.uniform(KEY, (outputs,), minval=-1, maxval=1))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_orthogonal_weights_are_orthogonal(shape):
    weight = np.asarray(lc.Orthogonal().weight(KEY, *shape))
    assert weight.shape == shape
    small = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    np.testing.assert_allclose(small, 6 / sum(shape) * np.eye(min(shape)), atol=1e-13)
    assert jnp.array_equal(lc.Orthogonal().bias(KEY, *shape), jnp.zeros(shape[0]))


def test_a_system_is_drawn_by_its_initialisation():
    system = lc.Feedforward(8, (8, 8), 8, initialisation=lc.Orthogonal(), key=KEY)
    for layer in system.layers:
        np.testing.assert_allclose(layer.weight @ layer.weight.T, 6 / 16 * np.eye(8), atol=1e-13)
        assert jnp.all(layer.bias == 0)
    rnn = lc.EquilibriumRNN(8, 8, 8, initialisation=lc.Orthogonal(), key=KEY)
    for weight in (rnn.input.weight, rnn.recurrent, rnn.output.weight):
        np.testing.assert_allclose(weight @ weight.T, 6 / 16 * np.eye(8), atol=1e-13)


def test_the_parameters_are_the_inexact_arrays():
    system = lc.Feedforward(3, (4, 6), 2, key=KEY)
    learned = eqx.filter(system, eqx.is_inexact_array)
    assert sum(leaf.size for leaf in jax.tree.leaves(learned)) == 3 * 4 + 4 + 4 * 6 + 6 + 6 * 2 + 2
    rnn = lc.EquilibriumRNN(3, 5, 2, key=KEY)
    learned = eqx.filter(rnn, eqx.is_inexact_array)
    assert sum(leaf.size for leaf in jax.tree.leaves(learned)) == 5 * 5 + 5 * 3 + 5 + 5 * 2 + 2
    functional = function_system()
    learned = eqx.filter(functional, eqx.is_inexact_array)
    assert jax.tree.structure(learned.params) == jax.tree.structure(functional.params)
    # Where a search starts is not learned.
    assert len(jax.tree.leaves(learned)) == len(jax.tree.leaves(learned.params))


def test_a_function_system_calls_its_functions():
    system = function_system()
    state = {"fast": numbers(1, 3), "slow": numbers(2, 4)}
    x = numbers(3, 3)
    drive = system.drive(x)
    assert drive is x
    field = system.vector_field(state, drive)
    expected = timescales(system.params, state, x)
    assert jax.tree.structure(field) == jax.tree.structure(state)
    assert all(map(jnp.array_equal, jax.tree.leaves(field), jax.tree.leaves(expected)))
    d, c = system.params["d"], system.params["c"]
    np.testing.assert_allclose(
        system.readout(state), d @ np.tanh(state["slow"]) + c * state["fast"], rtol=1e-12
    )
    start = lc.FunctionSystem(
        timescales, lambda p, s: s["slow"], system.params, state
    ).initial_state(drive)
    assert all(map(jnp.array_equal, jax.tree.leaves(start), jax.tree.leaves(state)))


@pytest.mark.parametrize("size", [0, -3, 2.0, True])
@pytest.mark.parametrize("name", ["inputs", "hidden", "outputs"])
def test_a_size_below_one_is_refused(name, size, unchecked_types):
    sizes = {"inputs": 3, "hidden": 4, "outputs": 2, name: size}
    message = rf"`{name}` is {size!r}, but a size is a whole number of at least 1: write"
    with pytest.raises(ValueError, match=message):
        lc.EquilibriumRNN(**sizes, key=KEY)
    with pytest.raises(ValueError, match=message):
        lc.Feedforward(sizes["inputs"], (4, sizes["hidden"]), sizes["outputs"], key=KEY)


def test_a_feedforward_system_without_hidden_layer_is_refused():
    with pytest.raises(ValueError, match=r"`hidden` is empty.*write hidden=\(256, 256\)"):
        lc.Feedforward(3, (), 2, key=KEY)


def test_a_whole_number_for_the_hidden_layers_is_refused(unchecked_types):
    with pytest.raises(ValueError, match=r"hidden"):
        lc.Feedforward(3, 256, 2, key=KEY)


BAD_FUNCTIONS = {
    "structure": (lambda p, s, x: {"a": -s["a"]}, lambda p, s: s["a"], "structure.*one derivative"),
    "shape": (
        lambda p, s, x: {"a": -s["a"], "b": s["a"]},
        lambda p, s: s["a"],
        r"\[3\].*state\['b'\].*\[2\]",
    ),
    "dtype": (
        lambda p, s, x: {"a": -s["a"], "b": s["b"].astype(jnp.float32)},
        lambda p, s: s["a"],
        "float32.*float64.*state's shape and dtype",
    ),
    "scalar output": (lambda p, s, x: s, lambda p, s: jnp.sum(s["a"]), r"h returned.*\(outputs,\)"),
    "matrix output": (lambda p, s, x: s, lambda p, s: jnp.eye(3), r"h returned.*\(outputs,\)"),
    "output tree": (lambda p, s, x: s, lambda p, s: s, r"h returned.*\(outputs,\)"),
    "integer output": (
        lambda p, s, x: s,
        lambda p, s: jnp.argsort(s["a"]),
        r"h returned.*floating",
    ),
}


@pytest.mark.parametrize("case", BAD_FUNCTIONS)
def test_functions_that_do_not_fit_the_state_are_refused(case, unchecked_types):
    field, readout, message = BAD_FUNCTIONS[case]
    start = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    system = lc.FunctionSystem(field, readout, {}, start)
    with pytest.raises(ValueError, match=message) as error:
        system.initial_state(system.drive(jnp.zeros(4)))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ((), "`start` holds no array.*write start=jnp.zeros"),
        (None, "`start` holds no array"),
        (jnp.zeros(3, int), "dtype int64.*floating point"),
        ({"a": jnp.zeros(3), "b": True}, "dtype bool.*floating point"),
    ],
)
def test_a_start_that_is_no_state_is_refused(start, message):
    with pytest.raises(ValueError, match=message):
        lc.FunctionSystem(lambda p, s, x: s, lambda p, s: s, {}, start)
