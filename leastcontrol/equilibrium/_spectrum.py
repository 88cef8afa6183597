"""The stability of rest points: the largest real part of the spectrum of ∂_φf, inside a trace.

Dynamics φ̇ = f(φ) return to a rest point after a small disturbance if all eigenvalues of ∂_φf there
have negative real parts, and leave it if one is positive. A solver may find rest points of either
kind. Arnoldi's method computes the rightmost eigenvalue from products with ∂_φf: it is restarted
from the rightmost Ritz vector (Saad, Linear Algebra Appl. 1980) until that pair is accurate. A
state of at most `KRYLOV` numbers has no more than that many products, so there all eigenvalues are
computed. `leastcontrol.diagnostics` computes margins to full precision outside of a trace.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Complex, Float, Int, PyTree

from ..systems import AbstractSystem
from ._certificate import RESULTS, Solution, solved

# Dimensions of the Krylov space, and how many are built at most.
KRYLOV = 32
RESTARTS = 16
# The accuracy that ends the restarts, relative to the largest Ritz value.
ACCURACY = 1e-3
# Rounding noise in units of the machine epsilon.
NOISE = 16.0

Vector = Float[Array, " size"]


class Rightmost(NamedTuple):
    """The largest real part of an eigenvalue, and its accuracy as a backward error.

    It belongs to an eigenvalue of ∂_φf + E with ‖E‖ ≤ accuracy. For a normal ∂_φf it is wrong by at
    most that.
    """

    real_part: Float[Array, "*batch"]
    accuracy: Float[Array, "*batch"]


def with_stability(
    system: AbstractSystem, drives: PyTree[Any], solution: Solution[PyTree[Array]]
) -> Solution[PyTree[Array]]:
    """Adds the largest real part of the spectrum of ∂_φf at each state to a free solution.

    A solved sample whose largest real part is above its accuracy becomes `RESULTS.unstable`.
    """
    rightmost = jax.vmap(lambda drive, state: _rightmost(system, drive, state))(
        drives, solution.value
    )
    unstable = solved(solution) & (rightmost.real_part > rightmost.accuracy)

    def result(unstable: Bool[Array, ""], before: Any) -> Any:
        return RESULTS.where(unstable, RESULTS.unstable, before)

    stats = solution.stats
    stats = eqx.tree_at(
        lambda s: (s.largest_real_part, s.stability_accuracy),
        stats,
        tuple(rightmost),
        is_leaf=lambda node: node is None,
    )
    return Solution(solution.value, jax.vmap(result)(unstable, solution.result), stats)


def _rightmost(system: AbstractSystem, drive: PyTree[Any], state: PyTree[Array]) -> Rightmost:
    flat, unravel = ravel_pytree(state)

    def product(direction: Vector) -> Vector:
        field = lambda at: ravel_pytree(system.vector_field(unravel(at), drive))[0]  # noqa: E731
        return jax.jvp(field, (flat,), (direction,))[1]

    if flat.size <= KRYLOV:
        matrix = jax.vmap(product, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))
        finite = jnp.all(jnp.isfinite(matrix))
        eigenvalues = jnp.linalg.eigvals(jnp.where(finite, matrix, 0))
        largest = jnp.where(finite, jnp.max(eigenvalues.real), jnp.nan)
        return Rightmost(largest, NOISE * jnp.finfo(flat.dtype).eps * jnp.linalg.norm(matrix))
    return _by_arnoldi(product, flat)


class _Restarted(NamedTuple):
    start: Vector
    rightmost: Rightmost
    restarts: Int[Array, ""]
    active: Bool[Array, ""]


def _by_arnoldi(product: Callable[[Vector], Vector], like: Vector) -> Rightmost:
    # A fixed key makes the result reproducible; random vectors have a part in every direction.
    others = jax.random.normal(jax.random.key(0), (KRYLOV + 1, like.size), like.dtype)

    def again(last: _Restarted) -> _Restarted:
        basis, hessenberg = _krylov(product, last.start, others)
        finite = jnp.all(jnp.isfinite(hessenberg))
        square = jnp.where(finite, hessenberg[:KRYLOV], 0)
        values, vectors = jnp.linalg.eig(square)
        vector: Complex[Array, " krylov"] = vectors[:, jnp.argmax(values.real)]
        left = hessenberg[KRYLOV, KRYLOV - 1] * jnp.abs(vector[-1]) / jnp.linalg.norm(vector)
        rounding = NOISE * jnp.finfo(like.dtype).eps * jnp.linalg.norm(square)
        real_part = jnp.where(finite, jnp.max(values.real), jnp.nan)
        # A combination of both vectors of a complex pair, of which products make the other one.
        start = (vector.real + vector.imag) @ basis[:KRYLOV]
        restarts = last.restarts + 1
        rough = left > ACCURACY * jnp.max(jnp.abs(values))
        active = finite & rough & (restarts < RESTARTS)
        return _Restarted(start, Rightmost(real_part, left + rounding), restarts, active)

    unknown = jnp.full((), jnp.nan, like.dtype)
    first = _Restarted(
        others[KRYLOV], Rightmost(unknown, unknown), jnp.zeros((), jnp.int32), jnp.asarray(True)
    )
    return jax.lax.while_loop(lambda last: last.active, again, first).rightmost


def _krylov(
    product: Callable[[Vector], Vector], start: Vector, others: Float[Array, "basis size"]
) -> tuple[Float[Array, "basis size"], Float[Array, "basis krylov"]]:
    """Computes an orthonormal basis of the Krylov space, and the products in it."""
    basis = jnp.zeros_like(others).at[0].set(start / jnp.linalg.norm(start))
    hessenberg = jnp.zeros((KRYLOV + 1, KRYLOV), start.dtype)

    def orthogonal(basis: Array, vector: Vector) -> tuple[Vector, Array]:
        # Twice, which suffices for orthogonality up to rounding.
        first = basis @ vector
        vector = vector - first @ basis
        second = basis @ vector
        return vector - second @ basis, first + second

    def add(index: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, hessenberg = carry
        image = product(basis[index])
        left, column = orthogonal(basis, image)
        size = jnp.linalg.norm(left)
        # If the space is invariant, it goes on with any vector that is orthogonal to it.
        closed = size <= NOISE * jnp.finfo(size.dtype).eps * jnp.linalg.norm(image)
        other, _ = orthogonal(basis, others[index])
        onwards = jnp.where(closed, other / jnp.linalg.norm(other), left / size)
        column = column.at[index + 1].add(jnp.where(closed, 0, size))
        return basis.at[index + 1].set(onwards), hessenberg.at[:, index].set(column)

    return jax.lax.fori_loop(0, KRYLOV, add, (basis, hessenberg))
