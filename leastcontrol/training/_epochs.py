"""Epochs of a rule's steps, each compiled as a whole.

A rule with a safeguard has two programs (`leastcontrol.rules.without_safeguard`). Every epoch
begins in the program without it. From the first batch in which a sample was not solved, the other
program goes on; it is compiled when it is first needed. What an epoch does depends on its start
alone and not on the epochs before it, so training goes on from a checkpoint with the same numbers.

Where the tolerance follows the noise of the gradient, an epoch stops after every so many steps, and
one more program measures the next batch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ..rules import Batch, without_safeguard
from ._placement import Placement
from ._program import Program
from ._step import Carry, StepFigures, TrainingStep


class Begun(eqx.Module):
    """An epoch under way: the number of steps taken, what they left, and the figures of each."""

    steps: Int[Array, ""]
    carry: Carry
    rows: Float[Array, "steps figures"]


@dataclasses.dataclass(frozen=True)
class FinishedEpoch:
    """What an epoch leaves.

    * `figures`: those of its steps, along their first axis.
    * `seconds`: wall time of its steps, without compilation.
    * `step_bytes`: the working memory of the program that ran; if both ran, of the larger one.
    """

    carry: Carry
    figures: StepFigures
    seconds: float
    step_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """The samples and the random keys of every step, which follow from the epoch's number.

    **Arguments:**

    * `order_key`, `noise_key`: what the order of the samples and the noise are drawn from.
    * `samples`, `batch_size`: how many samples there are, and how many of them a step takes.
    * `steps`: how many steps an epoch has.
    """

    order_key: PRNGKeyArray
    noise_key: PRNGKeyArray
    samples: int
    batch_size: int
    steps: int

    def batches(self, epoch: Int[Array, ""]) -> Int[Array, "steps batch"]:
        """Draws the indices of every step's samples."""
        shuffled = jax.random.permutation(jax.random.fold_in(self.order_key, epoch), self.samples)
        return shuffled[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)

    def keys(self, epoch: Int[Array, ""]) -> Key[Array, " steps"]:
        """Draws a key for every step."""
        return jax.random.split(jax.random.fold_in(self.noise_key, epoch), self.steps)


class Epochs:
    """Runs epochs. The program in which they begin is compiled when this object is made.

    **Arguments:**

    * `step`: a step by the whole rule, safeguard included.
    * `order`: what every step sees.
    * `samples`: the training set, in every copy.
    * `placement`: where the arrays lie.
    * `carry`: an example, with the shapes and types that the carry of every epoch has.
    * `measured`: a step by the rule that the noise of the gradient is measured of.
    """

    def __init__(
        self,
        step: TrainingStep,
        order: Order,
        samples: Batch,
        placement: Placement,
        carry: Carry,
        measured: TrainingStep,
    ):
        self._step, self._order, self._samples = step, order, samples
        self._placement = placement
        quick = without_safeguard(step.rule)
        first = step if quick is None else dataclasses.replace(step, rule=quick, attempt=True)
        arguments = self._arguments(0, carry)
        self._first = self._program(first, *arguments)
        self._safeguarded: Program[Begun] | None = None
        self._stops, self._measuring = [order.steps], None
        if step.config.tolerance is not None:
            every = step.config.tolerance.every
            self._stops = [*range(every, order.steps, every), order.steps]
            self._measuring = self._compiled(_tolerance_chosen, measured, *arguments)

    def run(self, epoch: int, carry: Carry) -> FinishedEpoch:
        """Takes the steps of an epoch; the first epoch has number 0."""
        samples, index, _, begun = self._arguments(epoch, carry)
        program, seconds, step_bytes = self._first, 0.0, 0
        for stop in self._stops:
            until = self._placement.spread(jnp.asarray(stop, jnp.int32))
            if self._measuring is not None:
                begun, more = self._measuring.timed(samples, index, until, begun)
                seconds += more
            begun, more = program.timed(samples, index, until, begun)
            seconds, step_bytes = seconds + more, max(step_bytes, program.temporary_bytes)
            if int(self._placement.local(begun.steps)) == stop:
                continue
            if self._safeguarded is None:
                self._safeguarded = self._program(self._step, samples, index, until, begun)
            program = self._safeguarded
            begun, more = program.timed(samples, index, until, begun)
            seconds, step_bytes = seconds + more, max(step_bytes, program.temporary_bytes)
        rows = np.asarray(self._placement.local(begun.rows))
        return FinishedEpoch(begun.carry, StepFigures.of_rows(rows), seconds, step_bytes)

    def _arguments(
        self, epoch: int, carry: Carry
    ) -> tuple[Batch, Int[Array, ""], Int[Array, ""], Begun]:
        # The samples are an argument of the program and not a constant in it, which XLA would copy.
        number = jnp.asarray(epoch, jnp.int32)
        none, rows = jnp.zeros((), jnp.int32), StepFigures.blank_rows(self._order.steps)
        number, none, rows = self._placement.spread((number, none, rows))
        return self._samples, number, none, Begun(none, carry, rows)

    def _program(self, step: TrainingStep, *arguments: Any) -> Program[Begun]:
        return self._compiled(_steps_taken, step, *arguments)

    def _compiled(
        self, run: Callable[..., Begun], step: TrainingStep, *arguments: Any
    ) -> Program[Begun]:
        run = functools.partial(run, step, self._order)
        # The last argument is what a program changes.
        jitted = jax.jit(run, out_shardings=self._placement.shardings(arguments[-1]))
        return Program.of(jitted, *arguments)


def _steps_taken(
    step: TrainingStep,
    order: Order,
    samples: Batch,
    epoch: Int[Array, ""],
    until: Int[Array, ""],
    begun: Begun,
) -> Begun:
    """Takes steps of an epoch until a number, up to the first that an attempt does not take."""
    batches, keys = order.batches(epoch), order.keys(epoch)

    def unfinished(state: tuple[Bool[Array, ""], Begun]) -> Bool[Array, ""]:
        taken, begun = state
        return taken & (begun.steps < until)

    def next_step(state: tuple[Bool[Array, ""], Begun]) -> tuple[Bool[Array, ""], Begun]:
        _, begun = state
        number = begun.steps
        progress = (epoch * order.steps + number) / max(1, step.total_steps - 1)
        after = step(begun.carry, samples, batches[number], keys[number], number, progress)
        rows = begun.rows.at[number].set(after.figures.as_row())
        return after.taken, Begun(number + after.taken, after.carry, rows)

    _, begun = jax.lax.while_loop(unfinished, next_step, (jnp.asarray(True), begun))
    return begun


def _tolerance_chosen(
    step: TrainingStep,
    order: Order,
    samples: Batch,
    epoch: Int[Array, ""],
    until: Int[Array, ""],
    begun: Begun,
) -> Begun:
    """Chooses the tolerance by the batch of the next step."""
    del until
    tolerance, carry, number = step.config.tolerance, begun.carry, begun.steps
    assert tolerance is not None
    assert carry.tolerance is not None
    indices, key = order.batches(epoch)[number], order.keys(epoch)[number]
    chosen = tolerance.adjusted(carry.tolerance, step.noise(carry, samples, indices, key))
    return dataclasses.replace(begun, carry=dataclasses.replace(carry, tolerance=chosen))
