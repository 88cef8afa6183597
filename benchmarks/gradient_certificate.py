"""Whether the certificate of a gradient names four faults, and how well it predicts their errors.

    python benchmarks/gradient_certificate.py --json results/gradient-certificate.json

The gradient is that of an equilibrium network of 24 neurons, for 16 samples and three draws of the
weights, in float64. It is made wrong in four ways: the root is not converged, the adjoint is cut
after two steps, the adjoint is that of an f without the coupling between neurons, and the state is
moved away from the root. The true error of each sample is taken from dense linear algebra,

    error = ‖g − g*‖ / ‖g*‖.

A sample is named if the certificate blames the root or the adjoint, whichever it was.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from leastcontrol.equilibrium import RESULTS, FixedPoint, Tolerance
from leastcontrol.files import write_json
from leastcontrol.rules import Keep, gradient_certificate, settle

SIZE, BATCH, DRAWS = 24, 16, 3
States = Float[Array, "batch size"]


def field(params: PyTree[Array], state: Array, x: Array) -> Array:
    """Computes f of one sample."""
    return jnp.tanh(params["W"] @ state + params["U"] @ x) - state


def loss(state: Array) -> Array:
    """Computes the loss of one state, which is not quadratic."""
    return jnp.sum(jnp.sin(jnp.arange(1, SIZE + 1) * state) + state**2)


cotangent = jax.grad(lambda states: jnp.sum(jax.vmap(loss)(states)))


@jax.jit
def root(params: PyTree[Array], x: Array) -> States:
    """Solves for the rest points by Newton's method with dense matrices."""

    def step(_: Any, state: Array, x: Array) -> Array:
        jacobian = jax.jacobian(field, 1)(params, state, x)
        return state - jnp.linalg.solve(jacobian, field(params, state, x))

    of_one = lambda x: jax.lax.fori_loop(0, 30, lambda i, s: step(i, s, x), jnp.zeros(SIZE))  # noqa: E731
    return jax.vmap(of_one)(x)


@jax.jit
def adjoint(params: PyTree[Array], states: States, x: Array) -> States:
    """Solves ∂_φfᵀa + c = 0 with dense matrices."""

    def of_one(state: Array, x: Array) -> Array:
        return -jnp.linalg.solve(jax.jacobian(field, 1)(params, state, x).T, jax.grad(loss)(state))

    return jax.vmap(of_one)(states, x)


@jax.jit
def gradients(params: PyTree[Array], states: States, x: Array, signals: States) -> Array:
    """Computes the gradient of each sample as a row."""

    def of_one(state: Array, x: Array, signal: Array) -> Array:
        return ravel_pytree(jax.vjp(lambda p: field(p, state, x), params)[1](signal)[0])[0]

    return jax.vmap(of_one)(states, x, signals)


def rows_of(params: PyTree[Array], x: Array) -> list[tuple[str, Any, States, States, Any]]:
    """Makes each fault: its name, the result that names it, state, adjoint and certificate."""
    exact = root(params, x)
    early = settle(
        field, params, x, start=jnp.zeros(SIZE), solver=FixedPoint(4), unsolved=Keep()
    ).value
    moved = exact + 0.02 * jnp.cos(jnp.arange(BATCH * SIZE)).reshape(BATCH, SIZE)
    uncoupled = {**params, "W": params["W"] * jnp.eye(SIZE)}
    forgetful = adjoint(uncoupled, exact, x)
    # The iterate whose error the second step measures is the first term of the series.
    cut = cotangent(exact)

    def certificate(states: States, **options: Any) -> Any:
        return gradient_certificate(field, params, x, states, cotangent, **options)

    tight, blame = Tolerance(1e-10), (RESULTS.root_to_blame, RESULTS.adjoint_to_blame)
    return [
        (
            "root not converged",
            blame[0],
            early,
            adjoint(params, early, x),
            certificate(early, tolerance=tight),
        ),
        (
            "adjoint cut after two steps",
            blame[1],
            exact,
            cut,
            certificate(exact, solver=FixedPoint(2)),
        ),
        (
            "adjoint forgets a parameter",
            blame[1],
            exact,
            forgetful,
            certificate(exact, adjoint=forgetful),
        ),
        (
            "wrong state",
            blame[0],
            moved,
            adjoint(params, moved, x),
            certificate(moved, tolerance=tight),
        ),
    ]


def draw(seed: int) -> tuple[PyTree[Array], Array]:
    """Draws weights with contraction 0.9 at most, and inputs."""
    keys = jax.random.split(jax.random.key(seed), 3)
    weight = jax.random.normal(keys[0], (SIZE, SIZE))
    params = {
        "W": 0.9 * weight / jnp.linalg.norm(weight, 2),
        "U": jax.random.normal(keys[1], (SIZE, 4)) / 2,
    }
    return params, jax.random.normal(keys[2], (BATCH, 4))


def measure(show: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures all faults for all draws; returns a row for each fault."""
    faults: dict[str, list[tuple[np.ndarray, ...]]] = {}
    for seed in range(DRAWS):
        params, x = draw(seed)
        states = root(params, x)
        exact = gradients(params, states, x, adjoint(params, states, x))
        for name, blamed, at, signals, certificate in rows_of(params, x):
            wrong = gradients(params, at, x, signals)
            true = jnp.linalg.norm(wrong - exact, axis=1) / jnp.linalg.norm(exact, axis=1)
            numbers = true, certificate.predicted_error, certificate.result == blamed
            faults.setdefault(name, []).append(tuple(map(np.asarray, numbers)))
    rows = []
    for name, parts in faults.items():
        true, predicted, named = (np.concatenate(column) for column in zip(*parts, strict=True))
        finite = np.isfinite(predicted)
        ratios = predicted[finite] / true[finite]
        rows.append(
            {
                "fault": name,
                "samples": len(true),
                "named": float(named.mean()),
                "finite": float(finite.mean()),
                "median_error": float(np.median(true)),
                "least_ratio": float(ratios.min()),
                "largest_ratio": float(ratios.max()),
            }
        )
        show(
            f"{name:28} named {named.mean():5.1%}  error {np.median(true):8.1e}  "
            f"predicted/true {ratios.min():.3f} to {ratios.max():.3f}"
        )
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = measure(print)
    if given.json is not None:
        write_json(given.json, {"faults": rows, **origin()})


if __name__ == "__main__":
    main()
