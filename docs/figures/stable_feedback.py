"""Draws `stable_feedback.svg`: the feedback matrices that hold a network, and those of theory.

    python docs/figures/stable_feedback.py

Figure 2 of arXiv 2106.07887. A 5-2-2 tanh network with one random input has the output's Jacobian
J, of shape 2 × 4. Feedback Q = JᵀP with a random P has its columns in the row space of J; it is
stable where no eigenvalue of JQ has a negative real part. 2000 such matrices and the damped
inverses Jᵀ(JJᵀ + γI)⁻¹ for γ from 1e-5 to 100, all of unit norm, are shown on the two principal
components of all of them together.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot
from themed import prepare, save

import leastcontrol as lc
from leastcontrol import diagnostics

SAMPLES = 2000
DAMPINGS = np.logspace(-5, 2, 100)


def jacobian() -> tuple[lc.Feedforward, tuple[jax.Array, ...], np.ndarray]:
    """Returns the network, its voltages for one input, and J there."""
    network_key, input_key = jax.random.split(jax.random.key(42))
    network = lc.Feedforward(5, (2,), 2, initialisation=lc.XavierNormal(), key=network_key)
    x = jax.random.normal(input_key, (5,))
    soma = lc.equilibrium.free_moment(network, network.drive(x)).soma
    batch = tuple(voltage[None] for voltage in soma)
    return network, batch, np.asarray(diagnostics.jacobians(network, batch)[0], np.float64)


def stable(j: np.ndarray) -> np.ndarray:
    """Returns feedback matrices in the row space of J that hold the linearised network."""
    rng = np.random.default_rng(42)
    matrices = []
    while len(matrices) < SAMPLES:
        q = j.T @ rng.standard_normal((2, 2))
        if np.linalg.eigvals(j @ q).real.min() >= 0:
            matrices.append(q / np.linalg.norm(q))
    return np.asarray(matrices)


def damped(j: np.ndarray) -> np.ndarray:
    """Returns Jᵀ(JJᵀ + γI)⁻¹, of unit norm, for each damping."""
    matrices = [j.T @ np.linalg.inv(j @ j.T + gamma * np.eye(2)) for gamma in DAMPINGS]
    return np.asarray([q / np.linalg.norm(q) for q in matrices])


def main() -> None:
    """Checks that the known matrices are among the stable, and draws all of them."""
    network, soma, j = jacobian()
    samples, inverses = stable(j), damped(j)
    transposed = j.T / np.linalg.norm(j)
    for q in (*samples[:3], *inverses[::30]):
        layers = (jnp.asarray(q[:2]), jnp.asarray(q[2:]))
        condition = diagnostics.feedback_condition(network, layers, soma)
        assert np.allclose(condition, 1, atol=1e-3), condition
    assert min(np.linalg.eigvals(j @ q).real.min() for q in inverses) > 0

    rows = np.concatenate([samples, inverses]).reshape(SAMPLES + len(inverses), -1)
    mean = rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(rows - mean, full_matrices=False)
    shares = sizes**2 / np.sum(sizes**2)

    def shown(matrices: np.ndarray) -> np.ndarray:
        return (matrices.reshape(len(matrices), -1) - mean) @ axes[:2].T

    prepare("stable_feedback")
    figure, plane = pyplot.subplots(figsize=(5.5, 4.5), layout="constrained")
    plane.plot(*shown(samples).T, ".", color="0.75", markersize=3, label="stable, Q = JᵀP")
    line = plane.scatter(*shown(inverses).T, c=np.log10(DAMPINGS), cmap="viridis", s=14, zorder=2)
    plane.plot(*shown(inverses[:1]).T, "^", color="C3", label="pseudo-inverse J†", zorder=3)
    plane.plot(*shown(transposed[None]).T, "s", color="C1", label="transpose Jᵀ", zorder=3)
    figure.colorbar(line, shrink=0.7, label="damped inverses: log₁₀ γ (γ in units of JJᵀ)")
    plane.set(
        title="Feedback that holds the output is no single matrix",
        xlabel=f"first principal component ({100 * shares[0]:.0f} % of the variance)",
        ylabel=f"second principal component ({100 * shares[1]:.0f} %)",
        aspect="equal",
    )
    plane.legend(fontsize=8)
    save(figure, "stable_feedback")


if __name__ == "__main__":
    main()
