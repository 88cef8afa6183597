"""One step of training, as a function from a carry to the next one."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray, PyTree

from ..equilibrium import Point, solved, tree_where
from ..rules import AbstractRule, Batch, Credit
from ..rules._gradient_noise import GradientNoise, gradient_noise, with_tolerance
from ..rules._strength import with_kappa
from ..systems import AbstractSystem
from ._augmentation import augmented
from ._config import TrainingConfig
from ._optimisers import make_feedback_optimiser, make_optimiser, updated_weights
from ._trained import EpochMetrics, Trained

# A rule that does not measure its free loss is measured once in so many steps.
MEASURED_EVERY = 10


class Carry(eqx.Module):
    """Everything that a step changes.

    * `learned`, `feedback`: the arrays that are learned, of the system and of its feedback.
    * `optimiser_state`, `feedback_state`: the states of their optimisers.
    * `points`, `kappa`, `tolerance`: those of `Trained`.
    """

    learned: PyTree[Any]
    optimiser_state: PyTree[Any]
    feedback: PyTree[Any]
    feedback_state: PyTree[Any]
    points: Point | None
    kappa: Float[Array, ""] | None
    tolerance: Float[Array, ""] | None


class Fixed(eqx.Module):
    """What no step changes: the parts of the system and of its feedback that are not learned."""

    system: PyTree[Any]
    feedback: PyTree[Any]

    def joined(self, carry: Carry) -> tuple[AbstractSystem, PyTree[Any]]:
        """Puts the system and its feedback together with the arrays that are learned."""
        return (
            eqx.combine(carry.learned, self.system),
            eqx.combine(carry.feedback, self.feedback),
        )

    def trained(self, carry: Carry, metrics: list[EpochMetrics]) -> Trained:
        """Puts together what training leaves."""
        states = (carry.optimiser_state, carry.feedback_state)
        following = (carry.points, carry.kappa, carry.tolerance)
        return Trained(*self.joined(carry), tuple(metrics), states, *following)


def divided(trained: Trained) -> tuple[Carry, Fixed]:
    """Divides what is trained into what a step changes and what it leaves."""
    learned, fixed = eqx.partition(trained.system, eqx.is_inexact_array)
    feedback, fixed_feedback = eqx.partition(trained.feedback, eqx.is_inexact_array)
    optimiser_state, feedback_state = trained.optimiser_states
    following = (trained.points, trained.kappa, trained.tolerance)
    carry = Carry(learned, optimiser_state, feedback, feedback_state, *following)
    return carry, Fixed(fixed, fixed_feedback)


def finite_mean(values: Num[Array | np.ndarray, " values"]) -> Float[Array, ""]:
    """Computes the mean of the finite values; NaN if no value is finite."""
    finite = jnp.isfinite(values)
    return jnp.sum(jnp.where(finite, values, 0)) / jnp.sum(finite)


class StepFigures(eqx.Module):
    """The figures of one step, or of several along a first axis.

    * `loss`, `objective`, `count`: as in `Credit`.
    * `control_norm`, `control_energy`: means of ‖(ψ, u)‖ and of its square over the samples where
      these are finite.
    * `converged_fraction`: share of the samples that were solved.
    * `residual_max`: the largest error of a solved sample.
    * `steps_mean`, `steps_max`: iterations of a sample's solve.
    * `removed`: share of the free loss that is gone at rest; NaN where it was not measured.
    * `tolerance`: the relative residual that was allowed; NaN where it is the rule's own.
    """

    loss: Num[Array | np.ndarray, "*steps"]
    objective: Num[Array | np.ndarray, "*steps"]
    control_norm: Num[Array | np.ndarray, "*steps"]
    control_energy: Num[Array | np.ndarray, "*steps"]
    converged_fraction: Num[Array | np.ndarray, "*steps"]
    residual_max: Num[Array | np.ndarray, "*steps"]
    steps_mean: Num[Array | np.ndarray, "*steps"]
    steps_max: Num[Array | np.ndarray, "*steps"]
    count: Num[Array | np.ndarray, "*steps"]
    removed: Num[Array | np.ndarray, "*steps"]
    tolerance: Num[Array | np.ndarray, "*steps"]

    @staticmethod
    def of(
        credit: Credit, removed: Float[Array, ""], tolerance: Float[Array, ""] | None
    ) -> "StepFigures":
        """Measures the figures of a step by its credit, besides those that are given."""
        stats, converged = credit.solution.stats, solved(credit.solution)
        return StepFigures(
            loss=credit.loss,
            objective=credit.objective,
            control_norm=finite_mean(stats.control_norm),
            control_energy=finite_mean(stats.control_norm**2),
            converged_fraction=jnp.mean(converged),
            residual_max=jnp.max(jnp.where(converged, stats.error, 0)),
            steps_mean=jnp.mean(stats.steps),
            steps_max=jnp.max(stats.steps),
            count=credit.count,
            removed=removed,
            tolerance=jnp.asarray(jnp.nan) if tolerance is None else tolerance,
        )

    @staticmethod
    def blank_rows(steps: int) -> Float[Array, "steps figures"]:
        """Makes room for the rows of an epoch's steps."""
        return jnp.zeros((steps, len(dataclasses.fields(StepFigures))))

    def as_row(self) -> Float[Array, " figures"]:
        """Stacks the figures of one step, so that a step writes one array and not one of each."""
        kind = jnp.zeros(()).dtype
        return jnp.stack([jnp.asarray(figure, kind) for figure in jax.tree.leaves(self)])

    @staticmethod
    def of_rows(rows: Float[np.ndarray, "steps figures"]) -> "StepFigures":
        """Names the columns of the rows of several steps."""
        return StepFigures(*rows.T)

    def counted(self) -> "StepFigures":
        """Leaves out the steps in which no sample counts.

        Their means are NaN, and their gradient is 0.
        """
        return jax.tree.map(lambda figures: figures[self.count > 0], self)


class Stepped(eqx.Module):
    """What a step leaves, its figures, and whether it was taken.

    Where it was not taken, the carry is the one from before it.
    """

    taken: Bool[Array, ""]
    carry: Carry
    figures: StepFigures


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStep:
    """One step: the credit of a batch, and the optimisers' updates by it.

    **Arguments:**

    * `rule`, `config`: how to train.
    * `total_steps`: how many steps the whole training has, for the schedule.
    * `fixed`: what is not learned.
    * `attempt`: whether the step is not taken where a sample was not solved.
    """

    rule: AbstractRule
    config: TrainingConfig
    total_steps: int
    fixed: Fixed
    attempt: bool = False

    def __call__(
        self,
        carry: Carry,
        samples: Batch,
        indices: Int[Array, " batch"],
        key: PRNGKeyArray,
        number: Int[Array, ""],
        progress: Float[Array, ""],
    ) -> Stepped:
        """Takes a step on one batch.

        **Arguments:** `samples`, the whole training set; `indices`, which of them are in the batch;
        `key`, for everything random in this step; `number`, of this step in its epoch;
        `progress`, of the training, from 0 to 1.
        """
        batch = self._batch(carry, samples, indices, key)
        rule = self._rule(carry)
        system, feedback = self.fixed.joined(carry)
        credit = rule(system, feedback, batch, key=key)
        removed = self._removed(system, batch, credit, number)
        after = self._updated(dataclasses.replace(carry, points=None), credit)
        if carry.kappa is not None:
            assert self.config.strength is not None
            kappa = self.config.strength.adjusted(carry.kappa, removed, progress)
            after = dataclasses.replace(after, kappa=kappa)
        converged = solved(credit.solution)
        taken = jnp.all(converged) if self.attempt else jnp.asarray(True)
        points = carry.points
        if points is not None:
            # A sample that was not solved keeps the point that it had.
            places = jnp.where(converged & taken, indices, len(samples.inputs))
            points = jax.tree.map(
                lambda leaf, new: leaf.at[places].set(new, mode="drop"),
                points,
                credit.solution.value,
            )
        if self.attempt:
            after = tree_where(taken, after, dataclasses.replace(carry, points=None))
        return Stepped(
            taken,
            dataclasses.replace(after, points=points),
            StepFigures.of(credit, removed, carry.tolerance),
        )

    def noise(
        self, carry: Carry, samples: Batch, indices: Int[Array, " batch"], key: PRNGKeyArray
    ) -> GradientNoise:
        """Measures the gradient's noise, and the effect of the tolerance, on the batch of a step.

        **Arguments:** as for a step.
        """
        assert self.config.tolerance is not None
        assert carry.tolerance is not None
        batch = self._batch(carry, samples, indices, key)
        system, feedback = self.fixed.joined(carry)
        return gradient_noise(
            self._rule(carry),
            system,
            feedback,
            batch,
            tolerance=carry.tolerance,
            parts=self.config.tolerance.parts(
                self.config.batch_size, self.config.accumulation_steps
            ),
            key=key,
        )

    def _rule(self, carry: Carry) -> AbstractRule:
        """Returns the rule with what follows measurements."""
        rule = self.rule if carry.kappa is None else with_kappa(self.rule, carry.kappa)
        return rule if carry.tolerance is None else with_tolerance(rule, carry.tolerance)

    def _removed(
        self, system: AbstractSystem, batch: Batch, credit: Credit, number: Int[Array, ""]
    ) -> Float[Array, ""]:
        """Measures the share of the free loss that is gone at rest; NaN where it is not measured.

        A rule that has not measured its free loss would pay for it in every step.
        """
        measure, unknown = self.rule.aspects.removed, jnp.full_like(credit.loss, jnp.nan)
        if measure is None:
            return unknown
        if credit.free_loss is not None:
            return measure(system, batch, credit)
        return jax.lax.cond(
            number % MEASURED_EVERY == 0,
            lambda: measure(system, batch, credit).astype(unknown.dtype),
            lambda: unknown,
        )

    def _batch(
        self, carry: Carry, samples: Batch, indices: Int[Array, " batch"], key: PRNGKeyArray
    ) -> Batch:
        inputs = samples.inputs[indices]
        if self.config.augmentations:
            # A stream of random numbers apart, so that the rule's noise is the same without.
            images_key = jax.random.fold_in(key, 1)
            inputs = augmented(self.config.augmentations, inputs, key=images_key)
        start = jax.tree.map(lambda leaf: leaf[indices], carry.points)
        return Batch(inputs, samples.targets[indices], start)

    def _updated(self, carry: Carry, credit: Credit) -> Carry:
        config = self.config
        optimiser = make_optimiser(config, self.total_steps)
        updates, state = optimiser.update(credit.gradient, carry.optimiser_state, carry.learned)
        learned = updated_weights(carry.learned, updates, config.weight_decay)
        carry = dataclasses.replace(carry, learned=learned, optimiser_state=state)
        gradient = credit.feedback_gradient
        if gradient is None:
            return carry
        if config.gradient_clip is not None:
            size = optax.tree.norm(credit.gradient)
            factor = config.gradient_clip / jnp.maximum(size, config.gradient_clip)
            gradient = jax.tree.map(lambda leaf: factor * leaf, gradient)
        optimiser = make_feedback_optimiser(config, self.total_steps)
        updates, state = optimiser.update(gradient, carry.feedback_state, carry.feedback)
        feedback = updated_weights(carry.feedback, updates, config.weight_decay)
        return dataclasses.replace(carry, feedback=feedback, feedback_state=state)
