"""The driver, which runs the iteration of one sample for a whole batch.

`AbstractProblem` is the iteration of one sample, `FixedPoint` says how to run it, and `run` runs it
for a batch. The driver iterates the whole batch until at most a quarter of its samples are
unfinished (or one in the solver's `first_share`). It then continues with the unfinished samples in
groups of an eighth of the batch (or one in the solver's `groups`), sorted by error, and treats
every group in the same way. So hard samples do not make the rest of their batch expensive. The
grouping changes no result. Every group size is a separate loop that has to be compiled, so there
are few sizes, and a small batch is not divided.

With a memory, iterates are mixed as in `_anderson`; with `relax`, steps are shortened as in
`_relaxation`. With a memory and `plain_steps`, only samples that are unfinished after these steps
mix their iterates. A batch that can be divided then is, however many they are: most batches end
before, and so its loop keeps no history. Mixing makes a step more expensive, but it solves samples
that plain steps do not: those whose state turns about its rest point, because an eigenvalue of ∂_φf
lies in the left half-plane but not within 1 of −1.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._anderson import RESTART, Blocks, History, mix
from ._relaxation import Relaxation, relax
from ._trees import tree_where

# Number of groups that the unfinished samples are split into.
GROUPS = 8
# A group of fewer samples would cost the same.
SMALLEST_GROUP = 4
# A group of a batch of fewer numbers would cost the same: starting its operations is all of it.
SMALLEST_BATCH = 2048
# Number of plain steps before relaxation.
PLAIN_STEPS = 4
# Number of plain steps before mixing, and of iterates that are then mixed. Recurrent networks that
# contract quickly need fewer steps; fewer iterates leave samples of others unsolved.
STEPS_BEFORE_MIXING = 30
MIXED_LATER = 8


# Two measurements of one point differ by rounding, and the later one decides.
MARGIN = 0.9


class AbstractProblem(eqx.Module):
    """The fixed points z = T(z) of one sample, and the error of an iterate."""

    remeasured: ClassVar[bool] = False
    """Whether the caller measures the last iterate again and decides by that measurement. The
    iteration then aims below the allowed error, so that rounding does not make it unsolved."""

    @abc.abstractmethod
    def initial(self, sample: PyTree[Any]) -> PyTree[Any]:
        """Makes the first iterate."""

    @abc.abstractmethod
    def iterate(
        self, sample: PyTree[Any], z: PyTree[Any]
    ) -> tuple[PyTree[Any], PyTree[Any], Float[Array, ""]]:
        """Computes T(z), the iterate whose error was measured, and that error.

        The error is a multiple of the tolerance. A sample is finished when it is at most 1 or not
        finite.
        """

    @abc.abstractmethod
    def mixed(self, z: PyTree[Any]) -> Blocks:
        """Returns the blocks of an iterate that acceleration may mix."""

    @abc.abstractmethod
    def with_mixed(self, z: PyTree[Any], blocks: Blocks) -> PyTree[Any]:
        """Returns the iterate with those blocks replaced."""


class FixedPoint(eqx.Module):
    """A fixed-point iteration: the number of steps, acceleration, and the grouping of samples.

    **Arguments:**

    * `max_steps`: steps after which a sample is unsolved.
    * `memory`: number of iterates that Anderson acceleration mixes; 1 for plain steps.
    * `plain_steps`: number of steps before iterates are mixed.
    * `relax`: whether plain steps are shortened where the iteration oscillates, from the fifth step
      on. Most samples need fewer, and the first steps, which begin without control, do not predict
      the later ones.
    * `first_share`: the driver leaves the whole batch when one in `first_share` samples is
      unfinished, and continues with groups of one in `groups` samples. Small values of the first
      and many groups suit expensive steps where most samples finish at nearly the same time.
    * `groups`: see `first_share`.

    **Raises:** `ValueError` for a value out of range, for `relax` with a memory above 1, and for
    `plain_steps` without one.
    """

    max_steps: int = eqx.field(static=True, default=200)
    memory: int = eqx.field(static=True, default=1)
    relax: bool = eqx.field(static=True, default=False)
    first_share: int = eqx.field(static=True, default=4)
    groups: int = eqx.field(static=True, default=GROUPS)
    plain_steps: int = eqx.field(static=True, default=0)

    @staticmethod
    def mixed_later(max_steps: int = 200) -> "FixedPoint":
        """Makes the solver for systems without an order: plain steps first, then mixing.

        It finds rest points that are stable in continuous time but not under unit steps. Like all
        mixing it may also find a rest point that is not stable.
        """
        return FixedPoint(max_steps, memory=MIXED_LATER, plain_steps=STEPS_BEFORE_MIXING)

    def __check_init__(self):
        if self.max_steps < 1 or self.memory < 1:
            raise ValueError(
                f"The fixed-point solver was given max_steps={self.max_steps} and "
                f"memory={self.memory}, but both are at least 1: write FixedPoint(max_steps=200)."
            )
        if self.first_share < 2 or self.groups < 2:
            raise ValueError(
                f"The fixed-point solver was given first_share={self.first_share} and "
                f"groups={self.groups}, but both are at least 2, because a part is at most half of "
                "a batch: write FixedPoint(first_share=4, groups=8)."
            )
        if self.relax and self.memory > 1:
            raise ValueError(
                f"The fixed-point solver was given relax=True and memory={self.memory}, but only "
                f"plain steps are relaxed: write FixedPoint(relax=True), or "
                f"FixedPoint(memory={self.memory})."
            )
        if self.plain_steps < 0 or (self.plain_steps > 0 and self.memory == 1):
            raise ValueError(
                f"The fixed-point solver was given plain_steps={self.plain_steps} and memory="
                f"{self.memory}, but plain steps come before the mixing of two iterates or more: "
                "write FixedPoint(memory=8, plain_steps=30)."
            )

    def instead_of(self, default: "FixedPoint") -> "FixedPoint":
        """Returns this solver."""
        del default
        return self

    @property
    def plain(self) -> bool:
        """Whether every iterate is T of the one before."""
        return self.memory == 1 and not self.relax


class Budget(eqx.Module):
    """The default iteration of a controller for a system, with another number of steps.

    **Arguments:**

    * `max_steps`: steps after which a sample is unsolved, at least 1.
    """

    max_steps: int = eqx.field(static=True)

    def instead_of(self, default: FixedPoint) -> FixedPoint:
        """Returns the default iteration with this number of steps.

        **Raises:** `ValueError` for less than one step.
        """
        return dataclasses.replace(default, max_steps=self.max_steps)


class Progress(eqx.Module):
    """The state of the iteration, for one sample or a batch."""

    z: PyTree[Any]
    history: History | Relaxation | None
    # Number of iterates in the history.
    mixed: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    error: Float[Array, "*batch"]
    active: Bool[Array, "*batch"]

    @staticmethod
    def first(
        start: PyTree[Any], history: History | Relaxation | None, batch: int, dtype: Any
    ) -> "Progress":
        """Makes the progress of a batch before its first step."""
        none, unknown = jnp.zeros(batch, jnp.int32), jnp.full(batch, jnp.inf, dtype)
        return Progress(start, history, none, none, unknown, jnp.ones(batch, bool))


def run(
    problem: AbstractProblem,
    solver: FixedPoint,
    samples: PyTree[Any],
    start: PyTree[Any] | None = None,
) -> tuple[PyTree[Any], Int[Array, " batch"], Float[Array, " batch"]]:
    """Runs an iteration for a batch; returns the last iterates, step counts and errors.

    **Arguments:**

    * `problem`, `solver`: the iteration and how to run it.
    * `samples`: the data of every sample, with a leading batch axis.
    * `start`: the first iterates; by default those of `problem.initial`.
    """
    if start is None:
        start = jax.vmap(problem.initial)(samples)
    error_shape = jax.eval_shape(jax.vmap(lambda s, z: problem.iterate(s, z)[2]), samples, start)
    batch = error_shape.shape[0]
    if solver.relax:
        first = lambda z: Relaxation.initial(problem.mixed(z), error_shape.dtype)  # noqa: E731
        history = jax.vmap(first)(start)
    else:
        history = None
    progress = Progress.first(start, history, batch, error_shape.dtype)
    return _run_group(problem, solver, samples, progress, first=True)


def _left_alone(blocks: Blocks, share: int, groups: int) -> int:
    """Returns how many unfinished samples continue in groups; 0 if the batch is not split."""
    leaves = jax.tree.leaves(blocks)
    batch = leaves[0].shape[0]
    small = batch // groups < SMALLEST_GROUP or sum(leaf.size for leaf in leaves) < SMALLEST_BATCH
    return 0 if small else batch // share


def _run_group(
    problem: AbstractProblem,
    solver: FixedPoint,
    samples: PyTree[Any],
    progress: Progress,
    *,
    first: bool = False,
) -> tuple[PyTree[Any], Int[Array, " batch"], Float[Array, " batch"]]:
    share = solver.first_share if first else 4
    left = _left_alone(jax.vmap(problem.mixed)(progress.z), share, solver.groups)
    ends_before_mixing = first and left > 0 and solver.plain_steps > 0
    if solver.memory > 1 and progress.history is None and not ends_before_mixing:
        history = jax.vmap(lambda z: History.empty(problem.mixed(z), solver.memory))(progress.z)
        none = jnp.zeros_like(progress.mixed)
        progress = dataclasses.replace(progress, history=history, mixed=none)

    def unfinished(progress: Progress) -> Bool[Array, ""]:
        some = jnp.sum(progress.active) > left
        return some & (jnp.max(progress.steps) < solver.plain_steps) if ends_before_mixing else some

    def step(progress: Progress) -> Progress:
        plain = None
        if solver.relax and first:
            # Only the whole batch takes plain first steps; groups have taken theirs.
            plain = jnp.max(progress.steps) < PLAIN_STEPS
        elif solver.plain_steps > 0 and progress.history is not None:
            plain = jnp.max(progress.steps) < solver.plain_steps
        return jax.vmap(lambda sample, one: advance(problem, solver, sample, one, plain))(
            samples, progress
        )

    progress = jax.lax.while_loop(unfinished, step, progress)
    outcome = (progress.z, progress.steps, progress.error)

    def again(group: tuple[PyTree, Progress], _: PyTree) -> PyTree:
        return _run_group(problem, solver, *group)

    if left == 0:
        return outcome
    return for_the_rest(
        again, ~progress.active, (samples, progress), outcome, solver.groups, progress.error
    )


def advance(
    problem: AbstractProblem,
    solver: FixedPoint,
    sample: PyTree[Any],
    progress: Progress,
    plain: Bool[Array, ""] | None = None,
) -> Progress:
    """Takes one step of one sample, unless it has finished; a plain step does not mix iterates."""
    proposed, measured, error = problem.iterate(sample, progress.z)
    finished = (error <= (MARGIN if problem.remeasured else 1)) | ~jnp.isfinite(error)
    # A growing error makes the history useless: begin a new one.
    count = jnp.where(error > RESTART * progress.error, 0, progress.mixed)
    more = count + 1
    if plain is None:
        proposed, history = _accelerate(problem, progress, proposed, count)
    else:
        more = jnp.where(plain, 0, more)
        # `plain` is the same for the whole batch, so only one branch is computed.
        proposed, history = jax.lax.cond(
            plain,
            lambda: (proposed, progress.history),
            lambda: _accelerate(problem, progress, proposed, count),
        )
    steps = progress.steps + 1
    last = steps >= solver.max_steps
    # A sample that runs out of steps keeps the iterate whose error is known.
    z = tree_where(finished | last, measured, proposed)
    advanced = Progress(z, history, more, steps, error, ~(finished | last))
    return tree_where(progress.active, advanced, progress)


def for_the_rest(
    solve: Callable[..., PyTree[Array]],
    done: Bool[Array, " batch"],
    samples: PyTree[Any],
    values: PyTree[Array],
    groups: int = GROUPS,
    order: Float[Array, " batch"] | None = None,
) -> PyTree[Array]:
    """Replaces the values of unfinished samples by `solve(samples, values)`.

    Solves the unfinished samples in groups of one in `groups` of the batch, so that the cost scales
    with their number. Groups consist of neighbours in `order`, an estimate of the remaining work
    that must be finite for unfinished samples.
    """
    batch = done.shape[0]
    group = max(batch // groups, min(batch, SMALLEST_GROUP))
    place_in_order = jnp.zeros(batch) if order is None else order

    def next_group(carry: tuple[Bool[Array, " batch"], PyTree]) -> tuple[Array, PyTree]:
        done, values = carry
        chosen = jnp.argsort(jnp.where(done, jnp.inf, place_in_order), stable=True)[:group]
        # Without the treatment of other indices, which would be compiled for every leaf.
        take = lambda leaf: leaf.at[chosen].get(mode="promise_in_bounds")  # noqa: E731
        new = solve(*jax.tree.map(take, (samples, values)))
        # Finished samples that fill up a group are not written back.
        place = jnp.where(take(done), batch, chosen)

        def put(leaf: Array, new: Array) -> Array:
            return leaf.at[place].set(new, mode="drop", wrap_negative_indices=False)

        return done.at[chosen].set(True), jax.tree.map(put, values, new)

    _, values = jax.lax.while_loop(lambda carry: ~jnp.all(carry[0]), next_group, (done, values))
    return values


def _accelerate(
    problem: AbstractProblem, progress: Progress, proposed: PyTree[Any], count: Int[Array, ""]
) -> tuple[PyTree[Any], History | Relaxation | None]:
    if progress.history is None:
        return proposed, None
    before, after = problem.mixed(progress.z), problem.mixed(proposed)
    if isinstance(progress.history, Relaxation):
        blocks, history = relax(progress.history, before, after)
    else:
        blocks, history = mix(progress.history, before, after, count, progress.error.dtype)
    return problem.with_mixed(proposed, blocks), history
