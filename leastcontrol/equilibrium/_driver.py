"""Running an iteration on a batch, sample by sample.

`AbstractProblem` is one sample's iteration; `FixedPoint` says how it is run; `run` does it for a
batch. The batch is iterated as a whole until at most a quarter of its samples are unfinished, then
those are gathered and iterated alone, and so on: a few hard samples cost what they are, not what
their batch is. Which samples are gathered together changes no sample's result.

Anderson acceleration (Walker and Ni, SIAM J. Numer. Anal. 2011, type II) mixes a sample's last
iterates with the weights a, Σ a = 1, that minimise ‖Σ_i a_i r_i‖ for their residuals
r_i = T(z_i) − z_i. The blocks of an iterate (a state and a control, say) may be of very different
size, so each block's residual is measured in units of the block itself.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._small import solve_small
from ._trees import dot, tree_subtract, tree_where

# Below this size a batch is no longer worth splitting.
SMALLEST_GROUP = 4
# An error that grows by this factor in one step ends a history.
RESTART = 2.0
# A ridge of this share of the largest squared residual keeps the mixing weights tame.
RIDGE = 1e-7
# In units of the spacing of the numbers at 1.
NOISE = 16.0


class AbstractProblem(eqx.Module):
    """The fixed points z = T(z) of one sample, and the error of an iterate."""

    @abc.abstractmethod
    def initial(self, sample: PyTree[Any]) -> PyTree[Any]:
        """Returns the first iterate."""

    @abc.abstractmethod
    def iterate(
        self, sample: PyTree[Any], z: PyTree[Any]
    ) -> tuple[PyTree[Any], PyTree[Any], Float[Array, ""]]:
        """Returns T(z), the iterate that the error belongs to, and that error.

        The error is a multiple of what is allowed: the sample is finished when it is at most 1,
        or no longer finite.
        """

    @abc.abstractmethod
    def mixed(self, z: PyTree[Any]) -> tuple[PyTree[Array], ...]:
        """Returns the blocks of an iterate that acceleration may mix."""

    @abc.abstractmethod
    def with_mixed(self, z: PyTree[Any], blocks: tuple[PyTree[Array], ...]) -> PyTree[Any]:
        """Returns the iterate with those blocks replaced."""


class FixedPoint(eqx.Module):
    """How an iteration is run: for how many steps, and how many past iterates are mixed.

    With `memory` 1 the iteration is plain; with more it is Anderson's. With `give_up` a sample ends
    early, unsolved, once the rate at which its error fell over the last two steps would not bring
    it within the tolerance in the steps that are left.
    """

    max_steps: int = eqx.field(static=True, default=200)
    memory: int = eqx.field(static=True, default=1)
    give_up: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.max_steps < 1 or self.memory < 1:
            raise ValueError(
                f"The fixed-point solver was given max_steps={self.max_steps} and "
                f"memory={self.memory}, but both are at least 1: write FixedPoint(max_steps=200)."
            )


class _Progress(eqx.Module):
    z: PyTree[Any]
    history: PyTree[Any]
    # Iterates in the history.
    mixed: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    error: Float[Array, "*batch"]
    # The error one step before.
    earlier: Float[Array, "*batch"]
    active: Bool[Array, "*batch"]


def run(
    problem: AbstractProblem,
    solver: FixedPoint,
    samples: PyTree[Any],
    start: PyTree[Any] | None = None,
) -> tuple[PyTree[Any], Int[Array, " batch"], Float[Array, " batch"]]:
    """Returns the last iterate, the number of steps and the error of every sample.

    **Arguments:**

    * `problem`, `solver`: the iteration and how to run it.
    * `samples`: what is each sample's own, with a leading batch axis.
    * `start`: the first iterates; the problem's own by default.
    """
    if start is None:
        start = jax.vmap(problem.initial)(samples)
    error_shape = jax.eval_shape(jax.vmap(lambda s, z: problem.iterate(s, z)[2]), samples, start)
    batch = error_shape.shape[0]
    progress = _Progress(
        start,
        jax.vmap(lambda z: _empty_history(problem, solver, z))(start),
        jnp.zeros(batch, jnp.int32),
        jnp.zeros(batch, jnp.int32),
        jnp.full(batch, jnp.inf, error_shape.dtype),
        jnp.full(batch, jnp.inf, error_shape.dtype),
        jnp.ones(batch, bool),
    )
    progress = _run_group(problem, solver, samples, progress)
    return progress.z, progress.steps, progress.error


def _run_group(
    problem: AbstractProblem, solver: FixedPoint, samples: PyTree[Any], progress: _Progress
) -> _Progress:
    batch = progress.steps.shape[0]
    smaller = batch // 4 if batch // 4 >= SMALLEST_GROUP else 0
    advance = jax.vmap(lambda sample, own: _advance(problem, solver, sample, own))

    def unfinished(progress: _Progress) -> Bool[Array, ""]:
        return jnp.sum(progress.active) > smaller

    progress = jax.lax.while_loop(unfinished, lambda progress: advance(samples, progress), progress)
    if smaller == 0:
        return progress
    hardest = jnp.argsort(~progress.active, stable=True)[:smaller]
    group = jax.tree.map(lambda leaf: leaf[hardest], (samples, progress))
    group = _run_group(problem, solver, *group)
    return jax.tree.map(lambda leaf, part: leaf.at[hardest].set(part), progress, group)


def _advance(
    problem: AbstractProblem, solver: FixedPoint, sample: PyTree[Any], own: _Progress
) -> _Progress:
    """Takes one step of one sample, unless it has finished."""
    proposed, measured, error = problem.iterate(sample, own.z)
    finished = (error <= 1) | ~jnp.isfinite(error)
    # Where the error grows, the past says nothing about the present: begin a new history.
    count = jnp.where(error > RESTART * own.error, 0, own.mixed)
    proposed, history = _accelerate(problem, solver, own, proposed, count)
    last = own.steps + 1 >= solver.max_steps
    if solver.give_up:
        last = last | _hopeless(solver, own, error)
    # A sample that runs out of steps keeps the iterate whose error is known.
    z = tree_where(finished | last, measured, proposed)
    advanced = _Progress(z, history, count + 1, own.steps + 1, error, own.error, ~(finished | last))
    return tree_where(own.active, advanced, own)


def _hopeless(solver: FixedPoint, own: _Progress, error: Float[Array, ""]) -> Bool[Array, ""]:
    """Returns whether the rate of the last two steps is too slow for the steps that are left."""
    left = solver.max_steps - own.steps - 1
    fall = jnp.log(own.earlier / error) / 2
    # The first rates are those of the start, not of the iteration.
    return jnp.isfinite(own.earlier) & ~(fall * left >= jnp.log(error))


def for_the_rest(
    solve: Callable[..., PyTree[Array]],
    done: Bool[Array, " batch"],
    samples: PyTree[Any],
    values: PyTree[Array],
) -> PyTree[Array]:
    """Returns a batch's values, replaced by `solve(samples, values)` where they are not done.

    The samples that are left are gathered in groups of a quarter of the batch, so that a few of
    them cost what a few samples cost.
    """
    batch = done.shape[0]
    group = max(batch // 4, min(batch, SMALLEST_GROUP))

    def next_group(carry: tuple[Bool[Array, " batch"], PyTree]) -> tuple[Array, PyTree]:
        done, values = carry
        chosen = jnp.argsort(done, stable=True)[:group]
        gather = lambda tree: jax.tree.map(lambda leaf: leaf[chosen], tree)  # noqa: E731
        old = gather(values)
        new = solve(gather(samples), old)
        kept = done[chosen]

        def put(leaf: Array, new: Array, old: Array) -> Array:
            keep = kept.reshape(kept.shape + (1,) * (new.ndim - 1))
            return leaf.at[chosen].set(jnp.where(keep, old, new))

        return done.at[chosen].set(True), jax.tree.map(put, values, new, old)

    _, values = jax.lax.while_loop(lambda carry: ~jnp.all(carry[0]), next_group, (done, values))
    return values


def _empty_history(problem: AbstractProblem, solver: FixedPoint, z: PyTree[Any]) -> PyTree[Any]:
    if solver.memory == 1:
        return ()
    blocks = problem.mixed(z)
    slots = jax.tree.map(lambda leaf: jnp.zeros((solver.memory, *leaf.shape), leaf.dtype), blocks)
    return slots, slots


def _accelerate(
    problem: AbstractProblem,
    solver: FixedPoint,
    own: _Progress,
    proposed: PyTree[Any],
    count: Int[Array, ""],
) -> tuple[PyTree[Any], PyTree[Any]]:
    if solver.memory == 1:
        return proposed, ()
    slot = count % solver.memory
    before, after = problem.mixed(own.z), problem.mixed(proposed)
    put = lambda slots, new: jax.tree.map(lambda s, n: s.at[slot].set(n), slots, new)  # noqa: E731
    residuals = put(own.history[0], tree_subtract(after, before))
    images = put(own.history[1], after)

    filled = jnp.arange(solver.memory) <= count
    # A block that is small enough to be the rounding of the others says nothing about the mixing.
    smallest = (NOISE * jnp.finfo(own.error.dtype).eps) ** 2 * sum(dot(now, now) for now in after)
    smallest = jnp.maximum(smallest, jnp.finfo(own.error.dtype).tiny)
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
    mix = lambda images: jnp.tensordot(weights, images, axes=1)  # noqa: E731
    return problem.with_mixed(proposed, jax.tree.map(mix, images)), (residuals, images)


def _gram(block: PyTree[Array]) -> Float[Array, "memory memory"]:
    rows = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(block)]
    return jnp.asarray(sum(row @ row.T for row in rows))
