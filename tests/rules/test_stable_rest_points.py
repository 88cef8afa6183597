"""`settle(..., stability=True)` against spectra that are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol.equilibrium import RESULTS


def linear(matrix, state, x):
    return matrix @ state + x


def with_spectrum(blocks, size, seed=0):
    """Makes a matrix that is not normal, with the eigenvalues of the blocks and of −1."""
    matrix = -np.eye(size)
    for index, (real, imaginary) in enumerate(blocks):
        at = slice(2 * index, 2 * index + 2)
        matrix[at, at] = [[real, imaginary], [-imaginary, real]]
    change = np.random.default_rng(seed).normal(size=(size, size)) / size**0.5 / 4 + np.eye(size)
    return jnp.asarray(change @ matrix @ np.linalg.inv(change))


def settled(f, params, x, start, **options):
    options = {"solver": lc.TrustRegion(), "stability": True, **options}
    return jax.jit(lambda p, x: lc.settle(f, p, x, start=start, **options))(params, x)


@pytest.mark.parametrize(
    ("size", "blocks", "largest"),
    [
        (4, [(-0.3, 0.0)], -0.3),
        (4, [(0.2, 3.0), (-0.5, 0.0)], 0.2),
        (60, [(-0.1, 2.0), (-0.6, 0.5)], -0.1),
        (60, [(0.05, 0.7), (-0.4, 5.0)], 0.05),
        # All eigenvalues alike: every Krylov space is invariant.
        (60, [], -1.0),
    ],
)
def test_the_largest_real_part_of_a_known_spectrum(size, blocks, largest):
    matrix = with_spectrum(blocks, size)
    solution = settled(linear, matrix, jnp.ones((2, size)), jnp.zeros(size))
    stats = solution.stats
    assert (stats.error <= 1).all()
    assert (stats.stability_accuracy < 0.02).all()
    np.testing.assert_allclose(stats.largest_real_part, largest, atol=1e-9 if size < 32 else 5e-3)
    stable = largest < 0
    assert (lc.solved(solution) == stable).all()
    assert (solution.result == (RESULTS.successful if stable else RESULTS.unstable)).all()


def competing(strength, state, x):
    """Two species that compete (Lotka–Volterra), with the growth rates x."""
    return state * (x - state - strength * state[::-1])


def test_a_saddle_where_both_species_coexist_is_unstable_and_extinction_is_not():
    # At φ = x/(1 + a) of both, ∂f = −φ[[1, a], [a, 1]] has the eigenvalues −φ(1 ± a).
    x = jnp.asarray([[1.0, 1.0], [1.0, 1.0]])
    start = jnp.asarray([[0.34, 0.33], [0.99, 0.01]])

    def total(x, strength):
        solution = lc.settle(
            competing, strength, x, start=start, solver=lc.TrustRegion(), stability=True
        )
        return jnp.sum(solution.value[:, 0]), solution

    of_x, solution = jax.jit(jax.grad(total, has_aux=True))(x, 2.0)
    np.testing.assert_allclose(solution.value, [[1 / 3, 1 / 3], [1.0, 0.0]], atol=1e-6)
    # At (1, 0) the eigenvalues are −1 and 1 − a.
    np.testing.assert_allclose(solution.stats.largest_real_part, [1 / 3, -1.0], atol=1e-5)
    np.testing.assert_array_equal(lc.solved(solution), [False, True])
    # The saddle adds nothing to a gradient; at the other point φ₁ = x₁.
    np.testing.assert_allclose(of_x, [[0.0, 0.0], [1.0, 0.0]], atol=1e-6)
    # With weaker competition both coexist: at φ = 2/3 the eigenvalues are −1 and −1/3.
    start = jnp.full((2, 2), 0.66)
    of_x, solution = jax.jit(jax.grad(total, has_aux=True))(x, 0.5)
    assert lc.solved(solution).all()
    np.testing.assert_allclose(solution.stats.largest_real_part, -1 / 3, atol=1e-5)
    # φ = (x₁ − a x₂, x₂ − a x₁)/(1 − a²).
    np.testing.assert_allclose(of_x[0], [4 / 3, -2 / 3], atol=1e-6)


def test_without_asking_nothing_is_measured():
    solution = settled(linear, -jnp.eye(3), jnp.ones((2, 3)), jnp.zeros(3), stability=False)
    assert solution.stats.largest_real_part is None
    unstable = settled(linear, jnp.eye(3), jnp.ones((2, 3)), jnp.zeros(3), stability=False)
    assert lc.solved(unstable).all()
