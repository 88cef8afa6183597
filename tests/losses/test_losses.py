"""One sample's losses: values, derivatives, precision, the response, and refusals."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import leastcontrol as lc

KEY = jax.random.PRNGKey(3)
N = 5


def naive(probabilities, output):
    return -jnp.sum(probabilities * jnp.log(jnp.exp(output) / jnp.sum(jnp.exp(output))))


def naive_probabilities(target, softness):
    if np.ndim(target) == 1:
        return np.asarray(target)
    return np.array([1 - softness if j == target else softness / (N - 1) for j in range(N)])


def hessian(loss, output, target):
    return jax.vmap(lambda v: loss.hessian_product(output, target, v))(jnp.eye(output.size))


@pytest.fixture
def unchecked_types(monkeypatch):
    """What a user meets who has no run-time type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("softness", [0.0, 0.01, 0.9])
@pytest.mark.parametrize("kind", ["label", "probabilities"])
def test_cross_entropy_and_its_derivatives_are_those_of_the_definition(softness, kind):
    output = 2 * jax.random.normal(KEY, (N,))
    target = jnp.array(3) if kind == "label" else jax.nn.softmax(3 * jax.random.normal(KEY, (N,)))
    expected = jnp.asarray(naive_probabilities(np.asarray(target), softness))
    loss = lc.CrossEntropy(softness)
    reference = lambda y: naive(expected, y)  # noqa: E731
    np.testing.assert_allclose(loss(output, target), reference(output), rtol=1e-13)
    np.testing.assert_allclose(
        loss.gradient(output, target), jax.grad(reference)(output), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        jax.grad(loss)(output, target), jax.grad(reference)(output), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(
        hessian(loss, output, target), jax.hessian(reference)(output), rtol=1e-12, atol=1e-14
    )
    trace = jnp.trace(jax.hessian(reference)(output))
    np.testing.assert_allclose(loss.laplacian(output, target), trace, rtol=1e-12)


def test_squared_error_and_its_derivatives_are_those_of_the_definition():
    output, target = jax.random.normal(KEY, (2, N))
    loss = lc.SquaredError()
    reference = lambda y: 0.5 * jnp.sum((y - target) ** 2)  # noqa: E731
    np.testing.assert_allclose(loss(output, target), reference(output), rtol=1e-14)
    np.testing.assert_allclose(loss.gradient(output, target), jax.grad(reference)(output))
    np.testing.assert_allclose(hessian(loss, output, target), jax.hessian(reference)(output))
    assert loss.laplacian(output, target) == N


@pytest.mark.parametrize("softness", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("outputs", [2, 10])
def test_soft_targets_are_probabilities(softness, outputs):
    t = lc.CrossEntropy(softness).probabilities(jnp.array(1), outputs, jnp.float64)
    assert t.shape == (outputs,)
    np.testing.assert_allclose(t.sum(), 1, rtol=1e-15)
    np.testing.assert_allclose(t[1], 1 - softness, rtol=1e-15)
    np.testing.assert_allclose(np.delete(t, 1), softness / (outputs - 1), rtol=1e-15)


@pytest.mark.parametrize("margin", [2.0, 8.0, 15.0, 30.0])
def test_a_confident_output_keeps_its_digits_in_single_precision(margin):
    # The logits are numbers of single precision: their own rounding is not the loss's error.
    logits = np.asarray(jax.random.normal(KEY, (N,)), np.float32)
    logits[2] += np.float32(margin)
    loss, label = lc.CrossEntropy(), jnp.array(2)
    exact = logits.astype(np.float64)
    others = np.exp(np.delete(exact, 2) - exact[2])
    value = np.log1p(others.sum())
    gradient = np.exp(exact - exact[2]) / (1 + others.sum())
    gradient[2] = -others.sum() / (1 + others.sum())
    single = jnp.asarray(logits)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(loss(single, label), value, rtol=3e-6)
    computed = loss.gradient(single, label)
    assert computed.dtype == jnp.float32
    np.testing.assert_allclose(computed, gradient, rtol=3e-6)


def response_residual(loss, center, gain, leak, target):
    u = jnp.zeros_like(center)
    for _ in range(24):
        u = loss.response(center, gain, leak, target, u)
    return leak * u + loss.gradient(center + gain * u, target), u


@pytest.mark.parametrize("loss", [lc.SquaredError(), lc.CrossEntropy(), lc.CrossEntropy(0.01)])
def test_the_response_solves_its_equation(loss):
    centers = jnp.array([0.3, 3.0, 30.0])[:, None] * jax.random.normal(KEY, (3, N))
    if isinstance(loss, lc.SquaredError):
        targets = jax.random.normal(jax.random.fold_in(KEY, 1), (3, N))
    else:
        targets = jnp.array([0, 1, 4])
    leaks = jnp.array([0.003, 0.1, 1.0, 100.0])
    gains = jnp.array([0.05, 1.0, 20.0])
    over = jax.vmap(response_residual, (None, 0, None, None, 0))
    over = jax.vmap(jax.vmap(over, (None, None, 0, None, None)), (None, None, None, 0, None))
    residual, u = jax.jit(lambda: over(loss, centers, gains, leaks, targets))()
    assert residual.shape == (4, 3, 3, N)
    # ∇L is a difference of the output and the target, or of probabilities.
    size = 1 + jnp.abs(centers).max()
    assert jnp.abs(residual).max() < 1e-13 * size
    # The equation is monotone, so that its solution is the only one; it is not trivial.
    assert jnp.all(jnp.linalg.norm(u[:3], axis=-1) > 1e-8)


@pytest.mark.parametrize("gain", [0.05, 1.0, 20.0])
def test_without_leak_the_response_reaches_the_soft_target(gain):
    loss, center = lc.CrossEntropy(0.01), 5 * jax.random.normal(KEY, (N,))
    u = loss.response(center, gain, 0.0, jnp.array(2), jnp.zeros(N))
    probabilities = jax.nn.softmax(center + gain * u)
    np.testing.assert_allclose(probabilities, naive_probabilities(2, 0.01), rtol=1e-12)
    # It is the limit of a vanishing leak, also where the equation leaves a constant open.
    _, limit = response_residual(loss, center, gain, 1e-12, jnp.array(2))
    np.testing.assert_allclose(u, limit, rtol=1e-6, atol=1e-6)


def test_without_leak_the_squared_error_response_reaches_the_target():
    center, target = jax.random.normal(KEY, (2, N))
    u = lc.SquaredError().response(center, 2.0, 0.0, target, jnp.zeros(N))
    np.testing.assert_allclose(center + 2 * u, target, rtol=1e-14)


@pytest.mark.parametrize("size", [1e-6, 0.1, 1.0, 10.0])
def test_the_trusted_step_lowers_a_convex_function_along_newtons_direction(size):
    loss, target = lc.CrossEntropy(), jnp.array(0)
    output = 2 * jax.random.normal(KEY, (N,))
    change = size * jax.random.normal(jax.random.fold_in(KEY, 2), (N,))
    share = loss.trusted_step(change)
    spread = float(change.max() - change.min())
    np.testing.assert_allclose(share, np.log1p(spread) / spread, rtol=1e-5)
    # d and Hd with ∇ = −Hd: the decrease that damping by the third derivative's bound promises.
    curvature = change @ loss.hessian_product(output, target, change)
    linear = lambda y: loss(y, target) - (loss.gradient(output, target) @ (y - output))  # noqa: E731
    rise = linear(output + share * change) - linear(output)
    assert rise < share * curvature * (1 + 1e-9)


@pytest.mark.parametrize("softness", [-0.1, 1.0, float("nan")])
def test_softness_out_of_range_is_refused(softness):
    with pytest.raises(ValueError, match=r"`softness` is .* write CrossEntropy\(softness=0.01\)"):
        lc.CrossEntropy(softness)


BAD_TARGETS = {
    "above": (lc.CrossEntropy(), jnp.array([0, N]), 1.0, "from 0 to 5.*5 outputs.*labels from 0"),
    "below": (lc.CrossEntropy(), jnp.array([-1, 0]), 1.0, "from -1 to 0"),
    "column": (
        lc.CrossEntropy(),
        jnp.array([[0], [1]]),
        1.0,
        r"shape \[2, 1\].*one label for each",
    ),
    "hard without leak": (lc.CrossEntropy(), jnp.array([0, 1]), 0.0, "infinite control.*softness"),
    "one-hot vectors without leak": (lc.CrossEntropy(), jnp.eye(N)[:2], 0.0, "infinite control"),
    "float labels": (lc.CrossEntropy(), jnp.array([0.0, 1.0]), 1.0, "labels of shape"),
    "wrong width": (lc.CrossEntropy(), jnp.ones((2, 4)) / 4, 1.0, r"\[2, 4\].*shape \(batch, 5\)"),
    "not probabilities": (lc.CrossEntropy(), jnp.ones((2, N)), 1.0, "probabilit"),
    "negative": (lc.CrossEntropy(), jnp.array([[2.0, -1, 0, 0, 0]]), 1.0, "probabilit"),
    "labels": (lc.SquaredError(), jnp.array([0, 1]), 1.0, r"squared error.*shape \(batch, 5\)"),
    "narrow": (lc.SquaredError(), jnp.ones((2, 4)), 1.0, r"\[2, 4\].*shape \(batch, 5\)"),
    "integers": (lc.SquaredError(), jnp.ones((2, N), int), 1.0, "floating-point targets"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_are_refused_in_one_sentence(case, unchecked_types):
    loss, targets, leak, message = BAD_TARGETS[case]
    with pytest.raises(ValueError, match=message) as error:
        loss.check_target(targets, N, leak)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("loss", "targets", "leak"),
    [
        (lc.CrossEntropy(), jnp.array([0, N - 1]), 1.0),
        (lc.CrossEntropy(), jnp.array([0, N - 1], jnp.uint8), 1.0),
        (lc.CrossEntropy(0.01), jnp.array([0, N - 1]), 0.0),
        (lc.CrossEntropy(), jnp.full((2, N), 1 / N), 0.0),
        (lc.SquaredError(), jnp.ones((2, N)), 0.0),
    ],
)
def test_good_targets_are_accepted(loss, targets, leak):
    loss.check_target(targets, N, leak)


# --- any function


def huber(output, target):
    """Is quadratic near the target and linear far from it."""
    return jnp.sum(jnp.sqrt(1 + (output - target) ** 2) - 1)


def test_a_function_is_a_loss_with_the_derivatives_of_the_definition():
    output, target = jax.random.normal(KEY, (2, N))
    loss = lc.losses.as_loss(huber)
    np.testing.assert_allclose(loss(output, target), huber(output, target))
    bend = np.diag((1 + (output - target) ** 2) ** -1.5)
    slope = (output - target) / np.sqrt(1 + (output - target) ** 2)
    np.testing.assert_allclose(loss.gradient(output, target), slope, rtol=1e-13)
    np.testing.assert_allclose(hessian(loss, output, target), bend, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(loss.laplacian(output, target), bend.trace(), rtol=1e-12)
    assert loss.trusted_step(output) == 1
    assert lc.losses.as_loss(loss) is loss


@pytest.mark.parametrize("leak", [1e-6, 0.1, 10.0])
@pytest.mark.parametrize("gain", [0.0, 1.0, 40.0])
def test_the_response_of_a_function_leaves_no_residual_from_any_guess(gain, leak):
    target = jax.random.normal(KEY, (N,))
    # Far from the minimum a full Newton step of this function overshoots by the cube.
    center, guess = 5 * jnp.arange(N, dtype=float), jnp.full(N, 3.0)
    respond = jax.jit(lc.FunctionLoss(huber).response)
    answer = respond(center, gain, leak, target, guess)
    residual = leak * answer + jax.grad(huber)(center + gain * answer, target)
    np.testing.assert_allclose(residual, 0, atol=1e-12)


def test_the_response_of_a_function_is_that_of_the_closed_forms():
    center, guess = jax.random.normal(KEY, (2, N))
    for loss, target in ((lc.SquaredError(), guess), (lc.CrossEntropy(0.1), jnp.asarray(2))):
        function = lc.FunctionLoss(loss)
        closed = loss.response(center, 1.3, 0.02, target, jnp.zeros(N), 60)
        derived = function.response(center, 1.3, 0.02, target, jnp.zeros(N))
        np.testing.assert_allclose(derived, closed, rtol=1e-9)
    # Without a leak, the output is at the minimum.
    derived = lc.FunctionLoss(huber).response(center, 2.0, 0.0, guess, jnp.zeros(N))
    np.testing.assert_allclose(center + 2 * derived, guess, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.5])
@pytest.mark.parametrize("loss", [lc.SquaredError(), lc.CrossEntropy(), "huber", "entropy"])
def test_the_change_of_the_response_is_that_of_the_dense_equation(loss, gain):
    output, change = jax.random.normal(KEY, (2, N))
    target = jnp.array(2) if loss not in (lc.SquaredError(), "huber") else output[::-1]
    entropy = lambda y, t: -jax.nn.log_softmax(y)[t]  # noqa: E731
    loss = {"huber": lc.FunctionLoss(huber), "entropy": lc.FunctionLoss(entropy)}.get(loss, loss)
    bend = np.asarray(jax.hessian(loss)(output, target))
    expected = -np.linalg.solve(0.3 * np.eye(N) + gain * bend, bend)
    of = lambda change: loss.response_change(output, target, gain, 0.3, change)  # noqa: E731
    np.testing.assert_allclose(of(change), expected @ change, rtol=1e-6, atol=1e-12)
    # As the solvers use it: linearised at no change.
    _, pushed = jax.linearize(of, jnp.zeros(N))
    np.testing.assert_allclose(pushed(change), expected @ change, rtol=1e-6, atol=1e-12)
    (pulled,) = jax.vjp(of, jnp.zeros(N))[1](change)
    np.testing.assert_allclose(pulled, expected.T @ change, rtol=1e-6, atol=1e-12)


def test_the_laplacian_of_many_outputs_is_estimated_and_exact_for_a_diagonal_hessian():
    output, target = jax.random.normal(KEY, (2, 50))
    laplacian = lc.FunctionLoss(huber).laplacian(output, target)
    np.testing.assert_allclose(laplacian, jnp.sum((1 + (output - target) ** 2) ** -1.5))
    mixed = jax.random.normal(jax.random.fold_in(KEY, 3), (20, 50))
    dense = lambda y, t: 0.5 * jnp.sum((mixed @ (y - t)) ** 2)  # noqa: E731
    ratio = lc.FunctionLoss(dense).laplacian(output, target) / jnp.sum(mixed**2)
    assert 0.7 < ratio < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [N, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_a_function_bends_down_it_is_not_convex(outputs, dtype):
    convex = {
        "huber": huber,
        "entropy": lambda y, t: -jnp.sum(jax.nn.softmax(t) * jax.nn.log_softmax(y)),
        "hinge": lambda y, t: jnp.sum(jax.nn.relu(1 - t * y) ** 2),
        "linear": lambda y, t: jnp.sum(t * y),
    }
    output, target = 3 * jax.random.normal(KEY, (2, outputs), dtype)
    for name, function in convex.items():
        concavity = jax.jit(lc.FunctionLoss(function).concavity)
        # A saturated output has a Hessian of rounding alone.
        for scale in (1, 30):
            assert concavity(scale * output, target, 0.01) == 0, name
    # One direction among all bends down.
    first = jnp.arange(outputs) == 1
    saddle = lambda y, t: jnp.sum(jnp.where(first, -0.2, 0.5) * (y - t) ** 2)  # noqa: E731
    concavity = lc.FunctionLoss(saddle).concavity(output, target, 0.01)
    assert 0 < concavity < 1
    assert lc.SquaredError().concavity(output, target, 0.0) == 0
    assert lc.CrossEntropy().concavity(output, target, 0.0) == 0


def test_what_is_no_loss_is_said(unchecked_types):
    with pytest.raises(ValueError, match="The loss is 'squared', but a loss is an object such as"):
        lc.losses.as_loss("squared")
    with pytest.raises(ValueError, match="a loss is an object such as"):
        lc.losses.as_loss(lc.SquaredError)
    loss = lc.FunctionLoss(lambda output, target: (output - target) ** 2)
    with pytest.raises(ValueError, match="return a scalar, such as"):
        loss.check_target(jnp.zeros((4, N)), N, 1.0)
