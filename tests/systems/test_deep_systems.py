"""Convolutional, residual, deep equilibrium and coordinate systems: formulas, rest, gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.signal
from helpers import KEY, Oracle, credit, flat, naive_cross_entropy, soft, stronger
from jax.test_util import check_grads

import leastcontrol as lc
from leastcontrol.rules._rule import parameter_gradient
from leastcontrol.systems import (
    PAPER_CONVOLUTIONS,
    SMALL_CONVOLUTIONS,
    STRIDED_CONVOLUTIONS,
    BatchNorm,
)

OUTPUTS = 3
IMAGE = (2, 6, 6)
SOFT = lc.CrossEntropy(softness=0.01)
TIGHT = lc.Tolerance(1e-11)
LAYERS = (
    lc.Convolution(2, kernel=3, padding=1, pool=lc.MaxPool(2)),
    lc.Convolution(3, kernel=2, stride=1),
)


def numbers(seed, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, 500 + seed), shape)


def convolutional(activation=lc.tanh):
    system = lc.ConvolutionalFeedforward(
        IMAGE, LAYERS, (4,), OUTPUTS, activation=activation, key=KEY
    )
    return stronger(system, 1.5)


def residual():
    key = jax.random.fold_in(KEY, 1)
    return lc.dense_residual_network(4, 3, 5, OUTPUTS, activation=lc.tanh, key=key)


class TanhCell(eqx.Module):
    weight: jax.Array

    def __call__(self, state, drive):
        return jnp.tanh(self.weight @ state.reshape(-1)).reshape(state.shape) + drive


class Flat(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return (self.weight @ x.reshape(-1)).reshape(-1, *x.shape[1:]) if x.ndim > 1 else x


class Head(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return self.weight @ jnp.tanh(x.reshape(-1))


def equilibrium():
    encoder = Flat(0.4 * numbers(1, 8, 8))
    return lc.DeepEquilibrium(
        encoder, TanhCell(0.3 * numbers(2, 8, 8)), Head(0.5 * numbers(3, OUTPUTS, 8))
    )


def representation():
    return lc.ImplicitRepresentation(
        2, 5, OUTPUTS, frequency=3.0, activation=lc.tanh, key=jax.random.fold_in(KEY, 4)
    )


def block(make_cell=None, shape=(1, 4, 4)):
    system = lc.convolutional_deep_equilibrium(
        shape, OUTPUTS, channels=4, inner=6, groups=2, pool=2, make_cell=make_cell, key=KEY
    )
    # Larger kernels than the paper's 0.01, so that the state takes part.
    where = lambda system: (_cell(system).first.weight, _cell(system).second.weight)  # noqa: E731
    return eqx.tree_at(where, system, [5 * kernel for kernel in where(system)])


def test_a_stride_of_the_encoder_leaves_fewer_rows_and_columns():
    system = lc.convolutional_deep_equilibrium(
        (2, 9, 8), OUTPUTS, channels=4, inner=4, groups=2, pool=1, stride=2, key=KEY
    )
    x = jax.random.normal(KEY, (2, 9, 8))
    drive = system.drive(x)
    assert drive.shape == system.initial_state(drive).shape == (4, 5, 4)
    expected = naive_convolution(system.encoder.convolution, x, stride=2)
    np.testing.assert_allclose(drive * np.sqrt(1 + 1e-5), expected, atol=1e-12)


def _cell(system):
    return system.cell if isinstance(system.cell, lc.ResidualCell) else system.cell.cell


# --- formulas


def naive_convolution(layer, x, stride=1):
    """Returns a convolution by SciPy's correlation of every pair of maps."""
    padding = layer.padding
    x = np.pad(np.asarray(x), ((0, 0), (padding, padding), (padding, padding)))
    maps = [
        sum(
            scipy.signal.correlate2d(channel, k, mode="valid")
            for channel, k in zip(x, kernel, strict=True)
        )
        for kernel in np.asarray(layer.weight)
    ]
    bias = 0 if layer.bias is None else np.asarray(layer.bias)
    return np.stack(maps)[:, ::stride, ::stride] + bias


def naive_pool(x, size, stride):
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:])
    return np.stack(
        [
            [
                x[:, i * stride : i * stride + size, j * stride : j * stride + size].max((1, 2))
                for j in range(columns)
            ]
            for i in range(rows)
        ]
    ).transpose(2, 0, 1)


def test_the_convolutional_system_is_the_formula():
    system, x = convolutional(), numbers(0, *IMAGE)
    drive = system.drive(x)
    np.testing.assert_allclose(drive, naive_convolution(system.convolutions[0], x), rtol=1e-11)
    shapes = [leaf.shape for leaf in system.initial_state(drive)]
    assert shapes == [(2, 6, 6), (3, 2, 2), (4,)]
    state = tuple(numbers(10 + i, *shape) for i, shape in enumerate(shapes))
    field = system.vector_field(state, drive)
    first, second, third = map(np.asarray, state)
    np.testing.assert_allclose(field[0], np.asarray(drive) - first, rtol=1e-11)
    pooled = naive_pool(np.tanh(first), 2, 2)
    expected = naive_convolution(system.convolutions[1], pooled) - second
    np.testing.assert_allclose(field[1], expected, rtol=1e-11)
    hidden, last = system.dense
    expected = hidden.weight @ np.tanh(second).reshape(-1) + hidden.bias - third
    np.testing.assert_allclose(field[2], expected, rtol=1e-11)
    expected = last.weight @ np.tanh(third) + last.bias
    np.testing.assert_allclose(system.readout(state), expected, rtol=1e-11)


def test_a_maximum_of_tiles_has_its_derivatives_and_shares_those_of_equal_pixels():
    pool = lc.MaxPool(2)
    image = jax.random.normal(KEY, (2, 4, 6))
    np.testing.assert_array_equal(pool(image), naive_pool(np.asarray(image), 2, 2))
    made = lambda image: pool(jnp.asarray(image))  # noqa: E731
    check_grads(made, (image,), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)
    tied = jnp.array([[[1.0, 1.0], [0.0, 1.0]]])
    (gradient,) = jax.vjp(pool, tied)[1](jnp.full((1, 1, 1), 3.0))
    np.testing.assert_allclose(gradient, tied)
    lost = image.at[0, 0, 0].set(jnp.nan)
    (gradient,) = jax.vjp(pool, lost)[1](jnp.ones((2, 2, 3)))
    assert np.isnan(gradient[0, :2, :2]).all()
    assert np.isfinite(gradient[1]).all()


def test_strides_and_overlapping_pools():
    layers = (lc.Convolution(2, kernel=3, stride=2, padding=2, pool=lc.MaxPool(2, stride=1)),)
    system = lc.ConvolutionalFeedforward((1, 5, 5), layers, (), OUTPUTS, key=KEY)
    x = numbers(0, 1, 5, 5)
    first = system.drive(x)
    np.testing.assert_allclose(
        first, naive_convolution(system.convolutions[0], x, stride=2), rtol=1e-11
    )
    pooled = naive_pool(np.maximum(np.asarray(first), 0), 2, 1)
    (last,) = system.dense
    expected = last.weight @ pooled.reshape(-1) + last.bias
    np.testing.assert_allclose(system.readout((first,)), expected, rtol=1e-11)


def test_a_pool_that_crops_leaves_out_the_rest():
    x = numbers(0, 2, 6, 6)
    cropped = lc.MaxPool(3, stride=2, crop=True)(x)
    np.testing.assert_array_equal(cropped, naive_pool(np.asarray(x), 3, 2))
    assert cropped.shape == (2, 2, 2)


def test_the_residual_network_is_the_formula():
    system, x = residual(), numbers(0, 4)
    drive = system.drive(x)
    np.testing.assert_allclose(drive, system.encoder.weight @ x + system.encoder.bias, rtol=1e-11)
    assert system.initial_state(drive).shape == (6, 3)
    state = numbers(1, 6, 3)
    field = system.vector_field(state, drive)
    np.testing.assert_allclose(field[0], drive - state[0], rtol=1e-11)
    blocks = system.blocks.affine
    for layer in range(5):
        before = np.asarray(state[layer])
        change = np.asarray(blocks.weight[layer]) @ np.tanh(before) + np.asarray(blocks.bias[layer])
        expected = (before - np.asarray(state[layer + 1])) * np.sqrt(5) + change
        np.testing.assert_allclose(field[layer + 1], expected, rtol=1e-11)
    assert len(np.unique(np.asarray(blocks.weight).round(6))) == 5 * 9
    decoder = system.decoder.affine
    expected = decoder.weight @ np.tanh(state[-1]) + decoder.bias
    np.testing.assert_allclose(system.readout(state), expected, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 25])
def test_all_blocks_of_a_residual_network_move_the_output_as_far_as_one_block(depth):
    system = lc.dense_residual_network(4, 3, depth, OUTPUTS, activation=lc.tanh, key=KEY)
    # Without weights inside, the states of all blocks are the same and h moves with their sum.
    system = eqx.tree_at(
        lambda system: system.blocks.affine.weight, system, replace_fn=jnp.zeros_like
    )
    drive = system.drive(numbers(0, 4))

    def read(control):
        return system.readout(system.settle(drive, control))

    jacobian = jax.jacobian(read)(jnp.zeros((depth + 1, 3))).reshape(OUTPUTS, depth + 1, 3)
    gain = jnp.einsum("alk,blk->ab", jacobian[:, 1:], jacobian[:, 1:])
    np.testing.assert_allclose(gain, jacobian[:, -1] @ jacobian[:, -1].T * depth, rtol=1e-11)
    last = np.asarray(system.settle(drive, jnp.zeros((depth + 1, 3)))[-1])
    slopes = np.asarray(system.decoder.affine.weight) * (1 - np.tanh(last) ** 2)
    np.testing.assert_allclose(gain, slopes @ slopes.T, rtol=1e-11)


def test_what_is_compiled_does_not_grow_with_depth():
    def size(depth):
        system = lc.dense_residual_network(4, 3, depth, OUTPUTS, key=KEY)
        control = jnp.zeros((depth + 1, 3))
        settle = jax.make_jaxpr(lambda drive, control: system.settle(drive, control))
        return len(str(settle(jnp.zeros(3), control)).splitlines())

    assert size(40) == size(4)


def naive_group_norm(norm, x):
    groups = np.asarray(x).reshape(norm.groups, -1)
    mean, variance = groups.mean(1, keepdims=True), groups.var(1, keepdims=True)
    normal = ((groups - mean) / np.sqrt(variance + norm.eps)).reshape(x.shape)
    return normal * np.asarray(norm.weight)[:, None, None] + np.asarray(norm.bias)[:, None, None]


def naive_block(cell, state, drive):
    """Returns norm(relu(φ + norm(e + c2 norm(relu(c1 φ))))), equation 152."""
    inner = naive_group_norm(cell.norms[0], np.maximum(naive_convolution(cell.first, state), 0))
    middle = naive_group_norm(cell.norms[1], drive + naive_convolution(cell.second, inner))
    return naive_group_norm(cell.norms[2], np.maximum(state + middle, 0))


def test_the_paper_block_in_both_readings():
    state, x = numbers(1, 4, 4, 4), numbers(2, 1, 4, 4)
    for make_cell, swap in ((None, False), (lc.Swapped, True)):
        system = block(make_cell)
        drive = system.drive(x)
        expected = naive_convolution(system.encoder.convolution, x) / np.sqrt(1 + 1e-5)
        np.testing.assert_allclose(drive, expected, rtol=1e-10)
        first, second = (drive, state) if swap else (state, drive)
        expected = naive_block(_cell(system), np.asarray(first), np.asarray(second))
        field = eqx.filter_jit(type(system).vector_field)(system, state, drive)
        np.testing.assert_allclose(field, expected - np.asarray(state), rtol=1e-9, atol=1e-9)
        tiles = np.asarray(state).reshape(4, 2, 2, 2, 2).mean((2, 4)) / np.sqrt(1 + 1e-5)
        decoder = system.decoder.affine
        expected = decoder.weight @ tiles.reshape(-1) + decoder.bias
        np.testing.assert_allclose(system.readout(state), expected, rtol=1e-10)


def test_a_node_for_every_convolution_rests_where_the_block_does():
    x = numbers(2, 1, 4, 4)
    system, nodes = block(), block(lc.WithNodes)
    drive = system.drive(x)
    solve = eqx.filter_jit(lc.free_equilibrium)
    solver = lc.FixedPoint(max_steps=2000, memory=8)
    free = solve(system, drive[None], solver=solver, tolerance=lc.Tolerance(1e-9))
    assert lc.solved(free).all()
    last, cell = free.value[0], system.cell
    first = cell.first(last)
    second = cell.second(cell.norms[0](jax.nn.relu(first)))
    assert jnp.abs(second).max() > 0.1
    state = (drive, first, second, last)
    shapes = jax.tree.map(jnp.shape, nodes.initial_state(drive))
    assert shapes == jax.tree.map(jnp.shape, state)
    assert np.abs(flat(nodes.vector_field(state, drive))).max() < 1e-7
    assert jnp.array_equal(nodes.readout(state), system.readout(last))


def test_the_implicit_representation_is_the_formula():
    system, x, state = representation(), numbers(0, 2), numbers(1, 5)
    drive = system.drive(x)
    expected = 3 * system.input.weight @ x + system.input.bias
    np.testing.assert_allclose(drive, expected, rtol=1e-11)
    field = system.vector_field(state, drive)
    expected = -state + np.tanh(3 * system.recurrent @ state) + drive
    np.testing.assert_allclose(field, expected, rtol=1e-11)
    expected = 3 * system.output.weight @ state + system.output.bias
    np.testing.assert_allclose(system.readout(state), expected, rtol=1e-11)
    plain = lc.ImplicitRepresentation(
        2, 5, OUTPUTS, frequency=1.0, activation=lc.tanh, key=jax.random.fold_in(KEY, 4)
    )
    np.testing.assert_allclose(3 * system.recurrent, plain.recurrent, rtol=1e-12)
    np.testing.assert_allclose(3 * system.output.weight, plain.output.weight, rtol=1e-12)


@pytest.mark.parametrize("make", [convolutional, residual])
def test_settling_solves_the_controlled_equation(make):
    system = make()
    drive = system.drive(numbers(0, *(IMAGE if make is convolutional else (4,))))
    start = system.initial_state(drive)
    control = jax.tree.map(lambda leaf: numbers(leaf.size, *leaf.shape), start)
    field = system.vector_field(system.settle(drive, control), drive)
    np.testing.assert_allclose(flat(field), -flat(control), atol=1e-13)


def test_the_presets_have_their_sizes():
    for layers, hidden, size in (
        (SMALL_CONVOLUTIONS, 56, 93_234),
        (STRIDED_CONVOLUTIONS, 48, 89_050),
    ):
        small = eqx.filter_eval_shape(
            lc.ConvolutionalFeedforward, (1, 28, 28), layers, (hidden,), 10, key=KEY
        )
        assert sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(small, _is_shape))) == size
    paper = eqx.filter_eval_shape(
        lambda: lc.ConvolutionalFeedforward(
            (3, 32, 32), PAPER_CONVOLUTIONS, (2048, 2048), 10, key=KEY
        )
    )
    kernels = [layer.weight.shape for layer in paper.convolutions]
    assert kernels == [(96, 3, 5, 5), (128, 96, 5, 5), (256, 128, 5, 5)]
    assert [layer.weight.shape[0] for layer in paper.dense] == [2048, 2048, 10]


def _is_shape(leaf):
    return isinstance(leaf, jax.ShapeDtypeStruct)


# --- gradients three ways

MIXED = lc.FixedPoint(max_steps=1000, memory=4)
CASES = {
    "convolutional": (convolutional, IMAGE, lc.Energy(TIGHT, lc.FixedPoint(500)), 0.5),
    "residual": (residual, (4,), lc.Energy(TIGHT, lc.FixedPoint(500)), 0.5),
    "deep equilibrium": (equilibrium, (8,), lc.DynamicInversion(TIGHT, MIXED), 0.5),
    "representation": (representation, (2,), lc.DynamicInversion(TIGHT, MIXED), 0.5),
}


def batch_of(shape, batch=3):
    x = numbers(30, batch, *shape)
    labels = jnp.arange(batch) % OUTPUTS
    return lc.Batch(x, labels), soft(labels, 0.01, OUTPUTS)


def plain_loss(system, batch):
    """Returns the mean loss at the end of Euler's method without control, for differentiation."""
    # The states of a residual network follow √D times as fast.
    step = system.scale if isinstance(system, lc.ResidualNetwork) else 1

    def one(x, target):
        drive = system.drive(x)
        state = system.initial_state(drive)
        state, _ = jax.lax.scan(
            lambda state, _: (
                jax.tree.map(
                    lambda leaf, rate: leaf + step * rate, state, system.vector_field(state, drive)
                ),
                None,
            ),
            state,
            length=150,
        )
        return SOFT(system.readout(state), target)

    return jnp.mean(jax.vmap(one)(batch.inputs, batch.targets))


SLOW = ("residual", "representation", "convolutional")


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_the_gradient_is_that_of_the_least_energy(case):
    make, shape, controller, leak = CASES[case]
    system = make()
    batch, targets = batch_of(shape)
    result = credit(lc.LeastControl(controller, leak, loss=SOFT), system, batch)
    # The least energy may lie where two pixels of a window tie; the gradient is that of the others.
    solved = lc.solved(result.solution)
    assert solved.sum() >= (2 if case == "convolutional" else 3)
    oracle = Oracle(system, naive_cross_entropy, batch.inputs[solved], targets[solved], leak)
    np.testing.assert_allclose(result.objective, oracle.value(oracle.theta), rtol=1e-11)
    mine, numeric = flat(result.gradient), oracle.finite_differences()
    np.testing.assert_allclose(mine, numeric, atol=1e-7 * np.abs(numeric).max())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_backpropagation_is_the_gradient_of_the_unrolled_loss(case):
    make, shape, *_ = CASES[case]
    system = make()
    batch, _ = batch_of(shape)
    slope = flat(eqx.filter_jit(eqx.filter_grad(plain_loss))(system, batch))
    rules = [lc.RecurrentBackpropagation(SOFT, TIGHT, MIXED)]
    if case in ("convolutional", "residual"):
        rules.append(lc.Backpropagation(SOFT))
    for rule in rules:
        result = credit(rule, system, batch)
        assert lc.solved(result.solution).all()
        np.testing.assert_allclose(flat(result.gradient), slope, atol=1e-8 * np.abs(slope).max())


# --- batch norm outside of the solve


def test_batch_norm_is_the_formula():
    x = numbers(0, 6, 3, 2, 2)
    norm = eqx.tree_at(lambda n: (n.scale, n.shift), BatchNorm(3), (numbers(1, 3), numbers(2, 3)))
    made = jax.vmap(norm.with_statistics(x))(x)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    for c in range(3):
        expected = (x[:, c] - mean[c]) / np.sqrt(variance[c] + 1e-5) * norm.scale[c] + norm.shift[c]
        np.testing.assert_allclose(made[:, c], expected, rtol=1e-9)


def test_statistics_are_those_of_the_batch_and_of_the_rest_points():
    system, x, states = block(), numbers(2, 5, 1, 4, 4), numbers(3, 5, 4, 4, 4)
    encodings = jax.vmap(system.with_batch_statistics(x).drive)(x)
    np.testing.assert_allclose(encodings.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(encodings.var((0, 2, 3)), 1, rtol=1e-3)
    norm = system.calibrated(states).decoder.norm
    np.testing.assert_allclose(norm.mean, states.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(norm.variance, states.var((0, 2, 3)), rtol=1e-12)
    other = equilibrium()
    assert other.with_batch_statistics(x) is other
    assert other.calibrated(states) is other


def test_the_gradient_goes_through_the_statistics_of_the_batch():
    system, x, labels = block(lc.Swapped), numbers(6, 4, 1, 4, 4), jnp.arange(4) % OUTPUTS
    rule = lc.PhantomGradient(SOFT, 1, 1.0)
    batch = lc.Batch(x, labels)

    def loss(system):
        """Returns the loss one full step from where the state is held."""
        normalised = system.with_batch_statistics(x)

        def one(x, state, label):
            drive = normalised.drive(x)
            state = state + normalised.vector_field(jax.lax.stop_gradient(state), drive)
            return SOFT(normalised.readout(state), label)

        return jnp.mean(jax.vmap(one)(x, states, labels))

    result = credit(lc.WithBatchStatistics(rule), system, batch)
    assert lc.solved(result.solution).all()
    states = result.solution.value
    slope = eqx.filter_jit(eqx.filter_grad(loss))(system)
    # The decoder's statistics are held, and the encoder's are a function of the weights.
    assert np.abs(slope.decoder.norm.mean).max() > 0
    expected = flat(system.without_statistics(slope))
    np.testing.assert_allclose(flat(result.gradient), expected, atol=2e-4 * np.abs(expected).max())
    for norm in (result.gradient.encoder.norm, result.gradient.decoder.norm):
        assert np.abs(norm.mean).max() == np.abs(norm.variance).max() == 0
        assert np.abs(norm.scale).max() > 0
    held = credit(rule, system.with_batch_statistics(x), batch)
    kernel = lambda gradient: np.asarray(gradient.encoder.convolution.weight)  # noqa: E731
    difference = np.abs(kernel(held.gradient) - kernel(result.gradient)).max()
    assert difference > 1e-2 * np.abs(kernel(result.gradient)).max()


# --- locality

gradient_of = eqx.filter_jit(parameter_gradient)


def garbage(tree):
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), tree)


def test_a_kernel_reads_its_own_control_and_its_own_activity():
    for make, shape in ((lambda: block(lc.WithNodes), (1, 4, 4)), (convolutional, IMAGE)):
        system, x = make(), numbers(0, 2, *shape)
        states = jax.tree.map(
            lambda leaf: numbers(leaf.size, 2, *leaf.shape),
            system.initial_state(system.drive(x[0])),
        )
        signals = jax.tree.map(lambda leaf: leaf + 1, states)
        output = numbers(5, 2, OUTPUTS)
        whole = gradient_of(system, x, states, signals, output)
        if make is convolutional:
            # Convolution 2 lies between states 0 and 1.
            read, driven, kernel = 0, 1, lambda tree: tree.convolutions[1].weight
        else:
            # Convolution c_2 lies between states a and b.
            read, driven, kernel = 1, 2, lambda tree: tree.cell.cell.second.weight
        lonely = gradient_of(
            system,
            garbage(x),
            tuple(leaf if i == read else garbage(leaf) for i, leaf in enumerate(states)),
            tuple(leaf if i == driven else garbage(leaf) for i, leaf in enumerate(signals)),
            garbage(output),
        )
        np.testing.assert_allclose(kernel(lonely), kernel(whole), rtol=1e-12)


# --- refusals


@pytest.fixture
def unchecked_types(monkeypatch):
    """What a user meets who has no run-time type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def conv(shape=(1, 6, 6), layers=LAYERS, hidden=(4,)):
    return lc.ConvolutionalFeedforward(shape, layers, hidden, OUTPUTS, key=KEY)


REFUSED = {
    "no convolution": (lambda: conv(layers=()), r"`convolutions` is empty.*write"),
    "shape": (lambda: conv(shape=(28, 28)), r"\(28, 28\).*\(channels, height, width\).*write"),
    "pool": (
        lambda: conv(shape=(1, 7, 7)),
        r"Windows of 2 pixels, 2 apart, do not cover a feature map of 7 × 7.*crop=True",
    ),
    "pool too large": (
        lambda: conv(layers=(lc.Convolution(2, padding=1, pool=lc.MaxPool(8)),)),
        "Windows of 8 pixels",
    ),
    "kernel": (
        lambda: conv(layers=(lc.Convolution(2, kernel=7),)),
        "Convolution 1 has a kernel of 7 pixels.*6 × 6",
    ),
    "padding": (lambda: lc.Convolution(2, padding=-1), "`padding` is -1.*write padding=1"),
    "stride": (lambda: lc.Convolution(2, stride=0), "`stride` is 0"),
    "pool size": (lambda: lc.MaxPool(0), "`size` is 0"),
    "hidden": (lambda: conv(hidden=(0,)), "0, but a size is a whole number"),
    "depth": (lambda: lc.dense_residual_network(4, 3, 0, 2, key=KEY), "`depth` is 0"),
    "width": (lambda: lc.dense_residual_network(4, 0, 3, 2, key=KEY), "`width` is 0"),
    "frequency": (
        lambda: lc.ImplicitRepresentation(2, 5, 1, frequency=0.0, key=KEY),
        "`frequency` is 0.0.*write frequency=30",
    ),
    "groups": (
        lambda: lc.ResidualCell(12, 16, groups=8, key=KEY),
        "`channels` is 12, which 8 groups do not divide: write channels=16, or groups=4",
    ),
    "average": (
        lambda: lc.convolutional_deep_equilibrium((1, 28, 28), 10, pool=8, key=KEY),
        r"Windows of 8 × 8 pixels do not divide an image of 28 × 28: write pool=7",
    ),
    "average behind a stride": (
        lambda: lc.convolutional_deep_equilibrium((1, 27, 28), 10, pool=4, stride=2, key=KEY),
        r"do not divide the maps behind a stride of 2, those of 14 × 14: write pool=2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused(case, unchecked_types):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (lambda state, drive: state[:2], r"float64\[2\] from a state of float64\[8\]"),
        (lambda state, drive: (state, drive), "in a tuple from a state of"),
        (lambda state, drive: state.astype(jnp.float32), "float32.*from a state of float64"),
    ],
)
def test_a_cell_that_does_not_keep_its_state_is_refused(cell, message):
    system = lc.DeepEquilibrium(Flat(jnp.eye(8)), cell, Head(jnp.ones((3, 8))))
    with pytest.raises(ValueError, match=message):
        system.initial_state(jnp.zeros(8))


def test_a_residual_block_that_does_not_keep_its_state_is_refused():
    system = lc.ResidualNetwork(
        lambda x: x, lambda key: Head(jnp.ones((3, 8))), 2, lambda x: x, key=KEY
    )
    with pytest.raises(ValueError, match=r"\[3\] from a state of shape \[8\]"):
        system.vector_field(jnp.zeros((3, 8)), jnp.zeros(8))


@pytest.mark.parametrize("shape", [(3, 6, 6), (6, 6), (2, 36)])
@pytest.mark.parametrize("make", [convolutional, block])
def test_inputs_that_are_no_such_image_are_refused(make, shape, unchecked_types):
    batch = lc.Batch(jnp.zeros((2, *shape)), jnp.zeros(2, int))
    rule = lc.LeastControl(lc.DynamicInversion(), 1.0)
    with pytest.raises(ValueError, match=r"an image of shape \([12], height, width\) is expected"):
        rule(make(), None, batch)
