"""Anderson acceleration of a fixed-point iteration (Walker and Ni, SIAM J. Numer. Anal. 2011, type
II).

The next iterate is a mixture of the last images T(z_i), with the weights a, Σ a = 1, that minimise
‖Σ_i a_i r_i‖ for the residuals r_i = T(z_i) − z_i. The blocks of an iterate (for example state and
control) may differ greatly in size, so each residual is measured relative to its block. `mix` takes
one step; `FixedPoint` uses it for batches, and `Anderson` makes it an Optimistix solver.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._small import solve_small
from ._trees import dot, tree_subtract

Blocks = tuple[PyTree[Array], ...]

# The history restarts if the error grows by this factor in one step.
RESTART = 2.0
# Ridge, relative to the largest squared residual, that bounds the mixing weights.
RIDGE = 1e-7
# Rounding noise in units of the machine epsilon.
NOISE = 16.0


class History(NamedTuple):
    """The last residuals and images of one sample, in blocks with a leading axis of slots."""

    residuals: Blocks
    images: Blocks

    @staticmethod
    def empty(blocks: Blocks, memory: int) -> "History":
        """Makes an empty history with `memory` slots."""
        slots = jax.tree.map(lambda leaf: jnp.zeros((memory, *leaf.shape), leaf.dtype), blocks)
        return History(slots, slots)


def mix(
    history: History,
    before: Blocks,
    after: Blocks,
    count: Int[Array, ""],
    dtype: Any,
) -> tuple[Blocks, History]:
    """Adds an iterate z and its image T(z) to the history, and computes the next iterate.

    **Arguments:**

    * `before`, `after`: z and T(z).
    * `count`: number of iterates added so far, which may exceed the number of slots.
    * `dtype`: of the mixing weights.
    """
    memory = jax.tree.leaves(history.images)[0].shape[0]
    slot = count % memory
    put = lambda slots, new: jax.tree.map(lambda s, n: s.at[slot].set(n), slots, new)  # noqa: E731
    residuals = put(history.residuals, tree_subtract(after, before))
    images = put(history.images, after)

    filled = jnp.arange(memory) <= count
    # A block smaller than the rounding of the others must not influence the mixing.
    smallest = (NOISE * jnp.finfo(dtype).eps) ** 2 * sum(dot(now, now) for now in after)
    smallest = jnp.maximum(smallest, jnp.finfo(dtype).tiny)
    gram = sum(
        _gram(block) / (dot(now, now) + smallest)
        for block, now in zip(residuals, after, strict=True)
    )
    gram = jnp.where(filled[:, None] & filled[None, :], gram, 0.0)
    size = jnp.max(jnp.diagonal(gram))
    ridge = jnp.where(size > 0, size, 1.0) * RIDGE
    gram = gram + jnp.diag(jnp.where(filled, ridge, 1.0).astype(gram.dtype))
    weights = solve_small(gram, filled.astype(gram.dtype))
    weights = weights / jnp.sum(weights)
    mixed = jax.tree.map(lambda slots: jnp.tensordot(weights, slots, axes=1), images)
    return mixed, History(residuals, images)


def _gram(block: PyTree[Array]) -> Float[Array, "memory memory"]:
    rows = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(block)]
    return jnp.asarray(sum(row @ row.T for row in rows))


class _AndersonState(eqx.Module):
    history: History
    count: Int[Array, ""]
    size: Float[Array, ""]
    finished: Bool[Array, ""]


class Anderson(optx.AbstractFixedPointSolver):
    """Anderson acceleration as a solver for `optimistix.fixed_point`.

    It stops when ‖(T(y) − y) / (atol + rtol |T(y)|)‖ < 1.

    **Arguments:**

    * `rtol`, `atol`: relative and absolute tolerance of the change of y.
    * `memory`: number of iterates that are mixed; 1 for plain steps.
    * `norm`: the norm of a pytree.

    **Raises:** `ValueError` for a memory below 1.
    """

    rtol: float
    atol: float
    memory: int = eqx.field(static=True, default=5)
    norm: Callable[[PyTree], Float[Array, ""]] = optx.max_norm

    def __check_init__(self):
        if self.memory < 1:
            raise ValueError(
                f"`memory` is {self.memory}, but at least the present iterate is mixed: write "
                "Anderson(rtol, atol, memory=5)."
            )

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _AndersonState:
        dtype = jnp.result_type(*jax.tree.leaves(y))
        infinite = jnp.full((), jnp.inf, dtype)
        history = History.empty((y,), self.memory)
        return _AndersonState(history, jnp.zeros((), jnp.int32), infinite, jnp.zeros((), bool))

    def step(self, fn, y, args, options, state, tags):
        image, aux = fn(y, args)
        change = tree_subtract(image, y)
        scaled = jax.tree.map(
            lambda leaf, new: leaf / (self.atol + self.rtol * jnp.abs(new)), change, image
        )
        size = jnp.asarray(self.norm(scaled), state.size.dtype)
        # A growing error makes the history useless: begin a new one.
        count = jnp.where(size > RESTART * state.size, 0, state.count)
        (mixed,), history = mix(state.history, (y,), (image,), count, state.size.dtype)
        finished = size < 1
        proposed = jax.tree.map(lambda plain, new: jnp.where(finished, plain, new), image, mixed)
        return proposed, _AndersonState(history, count + 1, size, finished), aux

    def terminate(self, fn, y, args, options, state, tags):
        return state.finished, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}
