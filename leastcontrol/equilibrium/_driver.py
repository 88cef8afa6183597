"""Running an iteration on a batch, sample by sample.

`AbstractProblem` is one sample's iteration; `FixedPoint` says how it is run; `run` does it for a
batch. The batch is iterated as a whole until at most a quarter of its samples are unfinished (or
the `first_share` of its solver); those go on alone, gathered in groups of an eighth of the batch
(or of its solver's `groups`) by how far they are from being finished, and so on in every group: a
few hard samples cost what they are, not what their batch is. Which samples are gathered together
changes no sample's result. Every size is a loop of its own that has to be compiled, hence so few of
them.

With a memory the iterates are mixed as `_anderson` says; with `relax` they go as far as
`_relaxation` says.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._anderson import RESTART, Blocks, History, mix
from ._relaxation import Relaxation, relax
from ._trees import tree_where

# Into so many groups is a batch divided whose last samples go on.
GROUPS = 8
# A smaller group would cost as much.
SMALLEST_GROUP = 4
# The first rates are those of the start, not of the iteration.
FIRST_JUDGED = 4
# Steps of a batch before it is relaxed.
PLAIN_STEPS = 4


# Two measurements of one point differ by their rounding, and the verdict is the later one's.
MARGIN = 0.9


class AbstractProblem(eqx.Module):
    """The fixed points z = T(z) of one sample, and the error of an iterate."""

    remeasured: ClassVar[bool] = False
    """Whether the last iterate is measured once more by who runs the iteration, whose verdict then
    counts: an iteration that ends with less than the allowed error is not called unsolved."""

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
    def mixed(self, z: PyTree[Any]) -> Blocks:
        """Returns the blocks of an iterate that acceleration may mix."""

    @abc.abstractmethod
    def with_mixed(self, z: PyTree[Any], blocks: Blocks) -> PyTree[Any]:
        """Returns the iterate with those blocks replaced."""


class FixedPoint(eqx.Module):
    """How an iteration is run: for how many steps, and how many past iterates are mixed.

    With `memory` 1 the iteration is plain; with more it is Anderson's. With `relax` a plain step is
    shortened where the iteration swings to and fro, from the fifth on: most samples need no more,
    and the first ones, which begin without a control, say nothing of the others. With `give_up` a
    sample is judged after 4, 8, 16, … steps: it ends there, unsolved, if the rate at which its
    error fell since half as many would not bring it within the tolerance in the steps that are
    left. One in `first_share` is the share of a batch that goes on by itself first, in groups of
    one in `groups` of its samples: 2, and many groups, where most samples end within a few dear
    steps of each other, which the others then need not take.
    """

    max_steps: int = eqx.field(static=True, default=200)
    memory: int = eqx.field(static=True, default=1)
    relax: bool = eqx.field(static=True, default=False)
    give_up: bool = eqx.field(static=True, default=False)
    first_share: int = eqx.field(static=True, default=4)
    groups: int = eqx.field(static=True, default=GROUPS)

    def __check_init__(self):
        if self.max_steps < 1 or self.memory < 1:
            raise ValueError(
                f"The fixed-point solver was given max_steps={self.max_steps} and "
                f"memory={self.memory}, but both are at least 1: write FixedPoint(max_steps=200)."
            )
        if self.first_share < 2 or self.groups < 2:
            raise ValueError(
                f"The fixed-point solver was given first_share={self.first_share} and "
                f"groups={self.groups}, but a part of a batch, one in so many, is at most one in "
                "2: write FixedPoint(first_share=4, groups=8)."
            )
        if self.relax and self.memory > 1:
            raise ValueError(
                f"The fixed-point solver was given relax=True and memory={self.memory}, but only "
                f"plain steps are relaxed: write FixedPoint(relax=True), or "
                f"FixedPoint(memory={self.memory})."
            )


class Progress(eqx.Module):
    """How far the samples of a batch, or one of them, have come."""

    z: PyTree[Any]
    history: History | Relaxation | None
    # Iterates in the history.
    mixed: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    error: Float[Array, "*batch"]
    # The error after the last 1, 2, 4, 8, … steps.
    earlier: Float[Array, "*batch"]
    active: Bool[Array, "*batch"]

    @staticmethod
    def first(
        start: PyTree[Any], history: History | Relaxation | None, batch: int, dtype: Any
    ) -> "Progress":
        """Returns that of a batch before its first step."""
        none, unknown = jnp.zeros(batch, jnp.int32), jnp.full(batch, jnp.inf, dtype)
        return Progress(start, history, none, none, unknown, unknown, jnp.ones(batch, bool))


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
    if solver.relax:
        first = lambda z: Relaxation.initial(problem.mixed(z), error_shape.dtype)  # noqa: E731
        history = jax.vmap(first)(start)
    elif solver.memory > 1:
        history = jax.vmap(lambda z: History.empty(problem.mixed(z), solver.memory))(start)
    else:
        history = None
    progress = Progress.first(start, history, batch, error_shape.dtype)
    return _run_group(problem, solver, samples, progress, first=True)


def _left_alone(batch: int, share: int, groups: int) -> int:
    """Returns how many samples of a batch go on in groups: none where it is not split."""
    return batch // share if batch // groups >= SMALLEST_GROUP else 0


def _run_group(
    problem: AbstractProblem,
    solver: FixedPoint,
    samples: PyTree[Any],
    progress: Progress,
    *,
    first: bool = False,
) -> tuple[PyTree[Any], Int[Array, " batch"], Float[Array, " batch"]]:
    share = solver.first_share if first else 4
    left = _left_alone(progress.steps.shape[0], share, solver.groups)

    def unfinished(progress: Progress) -> Bool[Array, ""]:
        return jnp.sum(progress.active) > left

    def step(progress: Progress) -> Progress:
        # As long as the batch goes on as a whole.
        plain = jnp.max(progress.steps) < PLAIN_STEPS if first and solver.relax else None
        return jax.vmap(lambda sample, own: advance(problem, solver, sample, own, plain))(
            samples, progress
        )

    progress = jax.lax.while_loop(unfinished, step, progress)
    found = (progress.z, progress.steps, progress.error)
    if left == 0:
        return found

    def again(own: tuple[PyTree, Progress], _: PyTree) -> PyTree:
        return _run_group(problem, solver, *own)

    return for_the_rest(
        again, ~progress.active, (samples, progress), found, solver.groups, progress.error
    )


def advance(
    problem: AbstractProblem,
    solver: FixedPoint,
    sample: PyTree[Any],
    own: Progress,
    plain: Bool[Array, ""] | None = None,
) -> Progress:
    """Takes one step of one sample, unless it has finished; a plain one leaves the past alone."""
    proposed, measured, error = problem.iterate(sample, own.z)
    finished = (error <= (MARGIN if problem.remeasured else 1)) | ~jnp.isfinite(error)
    # Where the error grows, the past says nothing about the present: begin a new history.
    count = jnp.where(error > RESTART * own.error, 0, own.mixed)
    if plain is None:
        proposed, history = _accelerate(problem, own, proposed, count)
    else:
        # The same for the whole batch: what is not needed is not computed.
        proposed, history = jax.lax.cond(
            plain,
            lambda: (proposed, own.history),
            lambda: _accelerate(problem, own, proposed, count),
        )
    last = own.steps + 1 >= solver.max_steps
    earlier = own.earlier
    if solver.give_up:
        last = last | _hopeless(solver, own, error)
        earlier = jnp.where(_is_power_of_two(own.steps + 1), error, earlier)
    # A sample that runs out of steps keeps the iterate whose error is known.
    z = tree_where(finished | last, measured, proposed)
    advanced = Progress(z, history, count + 1, own.steps + 1, error, earlier, ~(finished | last))
    return tree_where(own.active, advanced, own)


def _hopeless(solver: FixedPoint, own: Progress, error: Float[Array, ""]) -> Bool[Array, ""]:
    """Returns whether it is time to judge, and the rate too slow for the steps that are left.

    An error may rise for a step and cycle on its way down, so a rate is that of half of all steps.
    """
    steps = own.steps + 1
    rate = jnp.log(own.earlier / error) / (steps / 2)
    slow = ~(rate * (solver.max_steps - steps) >= jnp.log(error))
    return _is_power_of_two(steps) & (steps >= FIRST_JUDGED) & slow


def _is_power_of_two(steps: Int[Array, ""]) -> Bool[Array, ""]:
    return steps & (steps - 1) == 0


def for_the_rest(
    solve: Callable[..., PyTree[Array]],
    done: Bool[Array, " batch"],
    samples: PyTree[Any],
    values: PyTree[Array],
    groups: int = GROUPS,
    order: Float[Array, " batch"] | None = None,
) -> PyTree[Array]:
    """Returns a batch's values, replaced by `solve(samples, values)` where they are not done.

    The samples that are left are gathered in groups of one in `groups` of the batch, so that a few
    of them cost what a few samples cost: neighbours in `order`, which says how long they will take
    and is finite where they are not done.
    """
    batch = done.shape[0]
    group = max(batch // groups, min(batch, SMALLEST_GROUP))
    place_in_order = jnp.zeros(batch) if order is None else order

    def next_group(carry: tuple[Bool[Array, " batch"], PyTree]) -> tuple[Array, PyTree]:
        done, values = carry
        chosen = jnp.argsort(jnp.where(done, jnp.inf, place_in_order), stable=True)[:group]
        new = solve(*jax.tree.map(lambda leaf: leaf[chosen], (samples, values)))
        # What was done before is not put back.
        place = jnp.where(done[chosen], batch, chosen)
        put = lambda leaf, new: leaf.at[place].set(new, mode="drop")  # noqa: E731
        return done.at[chosen].set(True), jax.tree.map(put, values, new)

    _, values = jax.lax.while_loop(lambda carry: ~jnp.all(carry[0]), next_group, (done, values))
    return values


def _accelerate(
    problem: AbstractProblem, own: Progress, proposed: PyTree[Any], count: Int[Array, ""]
) -> tuple[PyTree[Any], History | Relaxation | None]:
    if own.history is None:
        return proposed, None
    before, after = problem.mixed(own.z), problem.mixed(proposed)
    if isinstance(own.history, Relaxation):
        blocks, history = relax(own.history, before, after)
    else:
        blocks, history = mix(own.history, before, after, count, own.error.dtype)
    return problem.with_mixed(proposed, blocks), history
