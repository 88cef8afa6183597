"""The cases that root finders and linear solvers are usually tested on, as rest points of `settle`.

They are the kinds of problems that the tests of `jax.lax.custom_root`,
`jax.lax.custom_linear_solve` and Optimistix' root finders, fixed points and minimisers
differentiate: scalar roots, linear systems, closures over traced values, pytrees, arguments without
derivatives, derivatives of derivatives, maps over each argument, contractions, discretised
differential equations, and minima as roots of a gradient. Each derivative is compared with a closed
form or with finite differences.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import leastcontrol as lc

pytestmark = pytest.mark.slow

TIGHT = lc.Tolerance(1e-11)
NEWTON = lc.TrustRegion()
KEYS = jax.random.split(jax.random.key(7), 6)
STEP = 1e-4


def states(f, params, x, start, solver=None):
    solution = lc.settle(f, params, x, start=start, tolerance=TIGHT, solver=solver)
    # A derivative at a point that is no root would be of another problem.
    value = jax.tree.map(
        lambda leaf: jnp.where(
            lc.solved(solution).reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, jnp.nan
        ),
        solution.value,
    )
    return value


def close(computed, expected, accuracy=1e-6):
    np.testing.assert_allclose(computed, expected, rtol=accuracy, atol=accuracy)


# --- a scalar root, as custom_root's square root


def square_root(y):
    f = lambda y, s, x: y - s**2 + 0 * x  # noqa: E731
    return states(f, y, jnp.zeros((1, 1)), jnp.ones(1), NEWTON)[0, 0]


def test_a_square_root_has_its_derivatives_of_two_orders_under_jit_and_vmap():
    y = jnp.asarray([1.5, 2.0])
    first = jax.grad(square_root)
    second = lambda y: jax.jvp(first, (y,), (1.0,))[1]  # noqa: E731
    values = jax.jit(jax.vmap(lambda y: (square_root(y), first(y), second(y))))(y)
    close(values[0], y**0.5)
    close(values[1], y**-0.5 / 2)
    close(values[2], -(y**-1.5) / 4)
    close(jax.jvp(square_root, (y[1],), (3.0,))[1], 3 / (2 * 2**0.5))


def test_a_root_closes_over_traced_values_and_takes_integers_flags_and_functions():
    # Traced: scale by grad. Without a derivative: the power, the flag, the name and the function.
    def root(y, scale):
        params = {"power": jnp.asarray(3), "up": jnp.asarray(True), "name": "cube", "of": jnp.abs}
        flags = {"off": jnp.asarray([False, True]), "drive": jnp.asarray([[0.0], [5.0]])}

        def f(params, s, x):
            drive = jnp.where(x["off"], 0, x["drive"]) + jnp.where(params["up"], scale * y, 0)
            return params["of"](drive) - s ** params["power"]

        return jnp.sum(states(f, params, flags, jnp.ones(1), NEWTON))

    # Twice the cube root of scale · y.
    slopes = jax.jit(jax.grad(root, argnums=(0, 1)))(0.8, 1.5)
    inner = 2 / 3 * (0.8 * 1.5) ** (-2 / 3)
    close(slopes, (1.5 * inner, 0.8 * inner))


def test_rosenbrocks_residuals_have_their_root_and_its_derivatives_in_both_coefficients():
    def root(a, b):
        f = lambda p, s, x: jnp.stack([p[0] - s[0], p[1] * (s[1] - s[0] ** 2)]) + 0 * x  # noqa: E731
        return states(f, (a, b), jnp.zeros((1, 2)), jnp.asarray([-1.2, 1.0]), NEWTON)[0]

    point, slopes = jax.jit(lambda *ab: (root(*ab), jax.jacobian(root, (0, 1))(*ab)))(1.3, 10.0)
    close(point, (1.3, 1.69))
    close(slopes, ([1, 2.6], [0, 0]))


# --- linear systems, as custom_linear_solve's

A = jnp.eye(3) + 0.3 * jax.random.normal(KEYS[0], (3, 3))
B = jax.random.normal(KEYS[1], (2, 3))


def linear(a, b):
    return states(lambda a, s, b: b - a @ s, a, b, jnp.zeros(3), NEWTON)


def test_a_linear_system_has_the_derivatives_of_a_dense_solve_in_both_arguments():
    dense = lambda a, b: jnp.linalg.solve(a, b.T).T  # noqa: E731
    score = lambda solve: lambda a, b: jnp.sum(jnp.sin(solve(a, b)))  # noqa: E731
    computed = jax.jit(lambda a, b: (linear(a, b), jax.grad(score(linear), argnums=(0, 1))(a, b)))(
        A, B
    )
    expected = dense(A, B), jax.grad(score(dense), argnums=(0, 1))(A, B)
    jax.tree.map(close, computed, expected)
    # Hessian-vector products, reverse over reverse and forward over reverse.
    move = jax.random.normal(KEYS[2], (3, 3))

    def products(solve):
        slope = jax.grad(score(solve))
        over_reverse = jax.grad(lambda a: jnp.sum(slope(a, B) * move))(A)
        return over_reverse, jax.jvp(lambda a: slope(a, B), (A,), (move,))[1]

    jax.tree.map(close, jax.jit(lambda: products(linear))(), products(dense))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_a_linear_system_is_mapped_over_each_argument(axes):
    both = [
        jnp.stack([leaf, 1.2 * leaf]) if axis == 0 else leaf
        for leaf, axis in zip((A, B), axes, strict=True)
    ]
    jacobian = jax.jit(jax.vmap(jax.jacobian(lambda b, a: linear(a, b)), axes[::-1]))
    mapped = jacobian(both[1], both[0])
    for index in range(2):
        a = both[0][index] if axes[0] == 0 else A
        expected = jnp.einsum("ij,bc->bicj", jnp.linalg.inv(a), jnp.eye(2))
        close(mapped[index], expected)


def test_a_derivative_that_is_zero_is_zero():
    # The second state does not depend on b, and nothing depends on the third parameter.
    f = lambda p, s, b: {"used": p["a"] * b - s["used"], "alone": 1 - s["alone"]}  # noqa: E731
    start = {"used": jnp.zeros(1), "alone": jnp.zeros(1)}
    of = lambda name: lambda p: jnp.sum(states(f, p, B[:, :1], start)[name])  # noqa: E731
    params = {"a": jnp.asarray(2.0), "b": jnp.asarray(3.0)}
    both = jax.jit(lambda p: (jax.grad(of("used"))(p), jax.grad(of("alone"))(p)))(params)
    close(both[0]["a"], jnp.sum(B[:, 0]))
    assert both[0]["b"] == both[1]["a"] == both[1]["b"] == 0


# --- problems of root finders, fixed points and minimisers


def contraction(p, s, x):
    """A fixed point of a matrix whose norm is below 1."""
    return jnp.tanh(p @ s + x) - s


def diagonal(p, s, x):
    """Uncoupled nonlinear equations in a nested state."""
    return {"exp": p["rate"] - jnp.exp(s["exp"]) * (1 + x[0] ** 2), "pair": (_cubic(p, s, x),)}


def _cubic(p, s, x):
    (pair,) = s["pair"]
    return p["rate"] * x[1:3] - pair**3 - pair


def bratu(p, s, x):
    """u″ + λ exp(u) = 0 between walls, by differences."""
    del x
    walled = jnp.pad(s, 1)
    spacing = 1 / (s.size + 1)
    return (walled[2:] - 2 * s + walled[:-2]) / spacing**2 / 100 + p * jnp.exp(s) / 100


def heat(p, s, x):
    """Stationary heat with a conductivity that depends on the temperature."""
    walled = jnp.concatenate([x[:1], s, x[1:2]])
    flux = (p["k"] + 0.1 * walled[:-1] ** 2) * jnp.diff(walled)
    return jnp.diff(flux) + p["source"]


def bowl(p, s, x):
    """Minus the gradient of ½ sᵀ(ppᵀ + I)s − x·s plus a log-cosh."""
    value = lambda s: 0.5 * jnp.sum((p.T @ s) ** 2) + jnp.sum(jnp.log(jnp.cosh(s - x)) + s**2 / 2)  # noqa: E731
    return -jax.grad(value)(s)


def network(p, s, x):
    """A perceptron of two layers that maps the state to itself."""
    hidden = jax.nn.softplus(p["in"] @ s + x)
    return p["out"] @ hidden + p["bias"] - s


WEIGHTS = {
    "in": jax.random.normal(KEYS[3], (3, 3)) / 3,
    "out": jax.random.normal(KEYS[4], (3, 3)) / 3,
    "bias": jnp.ones(3),
}
INPUTS = jax.random.normal(KEYS[5], (2, 3))
PROBLEMS = {
    "contraction": (contraction, 0.4 * A, jnp.zeros(3), None),
    "diagonal": (
        diagonal,
        {"rate": jnp.asarray(0.7)},
        {"exp": jnp.zeros(()), "pair": (jnp.zeros(2),)},
        NEWTON,
    ),
    "bratu": (bratu, jnp.asarray(1.2), jnp.zeros(6), NEWTON),
    "heat": (heat, {"k": jnp.asarray(1.0), "source": jnp.asarray(0.2)}, jnp.zeros(4), NEWTON),
    "bowl": (bowl, A, jnp.zeros(3), NEWTON),
    "network": (network, WEIGHTS, jnp.zeros(3), None),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_problem_has_the_derivatives_of_finite_differences_in_both_modes(problem):
    f, params, start, solver = PROBLEMS[problem]
    flat, unravel = ravel_pytree((params, INPUTS))
    move = jnp.cos(1 + jnp.arange(flat.size, dtype=float))

    def values(flat):
        return ravel_pytree(states(f, *unravel(flat), start, solver))[0]

    @jax.jit
    def measured(flat):
        value, tangent = jax.jvp(values, (flat,), (move,))
        pull = jax.vjp(values, flat)[1]
        return value, tangent, pull(jnp.sin(jnp.arange(value.size, dtype=float)))[0]

    value, tangent, pulled = measured(flat)
    # Of fourth order, so that its own error is below what is asked for.
    at = {times: measured(flat + times * STEP * move)[0] for times in (-2, -1, 1, 2)}
    expected = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * STEP)
    close(tangent, expected)
    assert jnp.linalg.norm(tangent) > 1e-3
    cotangent = jnp.sin(jnp.arange(value.size, dtype=float))
    np.testing.assert_allclose(pulled @ move, cotangent @ tangent, rtol=1e-7)


def test_a_filtered_gradient_passes_modules_with_functions():
    cell = eqx.nn.MLP(2, 2, 4, 1, activation=jnp.tanh, key=KEYS[0])
    x = jnp.ones((1, 2))

    def score(cell):
        return jnp.sum(states(lambda cell, s, x: 0.5 * cell(s) + x - s, cell, x, jnp.zeros(2)))

    slope = eqx.filter_jit(eqx.filter_grad(score))(cell)
    root = eqx.filter_jit(states)(lambda c, s, x: 0.5 * c(s) + x - s, cell, x, jnp.zeros(2))[0]
    jacobian = jnp.eye(2) - 0.5 * jax.jacobian(cell)(root)
    adjoint = jnp.linalg.solve(jacobian.T, jnp.ones(2))
    # The output bias enters through 0.5 alone.
    close(slope.layers[-1].bias, 0.5 * adjoint)
