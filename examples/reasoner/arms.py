"""The estimators of the gradient that the study compares.

An arm computes, for a batch, the gradient of the weights that training descends, and how many of
its samples were solved and in how many steps. Everything else is the same for all of them.

* `Truncated` applies the cell a fixed number of times and differentiates through the last ones: one
  for the one-step gradient of public recursive models, two for two phantom steps without damping,
  all of them for backpropagation through time. Whether the state rests by then is not looked at.
* `Implicit` settles each sample and differentiates its rest point by the implicit function theorem.
  Samples that do not settle are dropped, or kept where the solver left them.
* `LeastControl` settles each sample under the least control that improves its answer, and descends
  that control.
"""

import abc
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

import leastcontrol as lc

from .model import Reasoner, iterated, loss, readout, vector_field


class Batch(NamedTuple):
    """Puzzles, with 0 for a blank, and their solutions."""

    given: Int[Array, "batch cells"]
    solution: Int[Array, "batch cells"]


class Estimate(NamedTuple):
    """A gradient, and what its solves took.

    * `objective`: what the gradient belongs to, as a mean over the batch.
    * `gradient`: like the reasoner.
    * `solved`: the samples whose solve met the arm's tolerance, which are those that count; true
      for an arm that has none.
    * `steps`: of the solve of each sample, applications of the cell but for least control.
    """

    objective: Float[Array, ""]
    gradient: Reasoner
    solved: Bool[Array, " batch"]
    steps: Int[Array, " batch"]


class AbstractArm(abc.ABC):
    """An estimator of the gradient."""

    @abc.abstractmethod
    def __call__(self, reasoner: Reasoner, batch: Batch) -> Estimate:
        """Estimates the gradient of a batch."""


@dataclasses.dataclass(frozen=True)
class Truncated(AbstractArm):
    """Backpropagation through the last of a fixed number of applications.

    **Arguments:** the number of `applications`, and `through`, how many of them are differentiated.
    """

    applications: int
    through: int

    def __call__(self, reasoner: Reasoner, batch: Batch) -> Estimate:
        def objective(reasoner: Reasoner) -> Float[Array, ""]:
            def of_one(given: Int[Array, " cells"], solution: Int[Array, " cells"]) -> Array:
                drive = reasoner.drive(given)
                before = self.applications - self.through
                fixed = jax.lax.stop_gradient((reasoner, drive))
                state = iterated(fixed[0], jnp.asarray(reasoner.start), fixed[1], before)
                state = iterated(reasoner, state, drive, self.through)
                return loss(readout(reasoner, state), solution)

            return jnp.mean(jax.vmap(of_one)(*batch))

        value, gradient = jax.value_and_grad(objective)(reasoner)
        samples = len(batch.given)
        steps = jnp.full(samples, self.applications, jnp.int32)
        return Estimate(value, gradient, jnp.ones(samples, bool), steps)


@dataclasses.dataclass(frozen=True)
class Implicit(AbstractArm):
    """The gradient of the loss at the rest points.

    **Arguments:** the `solver` and the `tolerance` of the rest point and of the adjoint, and the
    policy for samples that are `unsolved`.
    """

    solver: lc.FixedPoint
    tolerance: lc.Tolerance
    unsolved: lc.AbstractUnsolved

    def __call__(self, reasoner: Reasoner, batch: Batch) -> Estimate:
        def objective(reasoner: Reasoner) -> tuple[Float[Array, ""], lc.Solution]:
            solution = lc.settle(
                vector_field,
                reasoner,
                jax.vmap(reasoner.drive)(batch.given),
                start=reasoner.start,
                solver=self.solver,
                tolerance=self.tolerance,
                unsolved=self.unsolved,
            )
            answers = jax.vmap(readout, (None, 0))(reasoner, solution.value)
            losses = jax.vmap(loss)(answers, batch.solution)
            return mean_of(losses, self.unsolved.weights(solution) > 0), solution

        (value, solution), gradient = jax.value_and_grad(objective, has_aux=True)(reasoner)
        return Estimate(value, gradient, lc.solved(solution), solution.stats.steps)


@dataclasses.dataclass(frozen=True)
class LeastControl(AbstractArm):
    """The gradient of the least control, min ½‖ψ‖² + ½‖u‖² + L/α, whose controller is dynamic
    inversion.

    **Arguments:** the `leak` α, and the `solver` and the `tolerance` of the controlled rest point.
    """

    leak: float
    solver: lc.FixedPoint
    tolerance: lc.Tolerance

    def __call__(self, reasoner: Reasoner, batch: Batch) -> Estimate:
        estimate = lc.least_control(
            vector_field,
            readout,
            loss,
            start=reasoner.start,
            leak=self.leak,
            controller=lc.DynamicInversion(self.tolerance, self.solver),
        )

        def objective(reasoner: Reasoner) -> tuple[Float[Array, ""], lc.Solution]:
            drives = jax.vmap(reasoner.drive)(batch.given)
            value, _, solution = estimate(reasoner, drives, batch.solution)
            return value, solution

        (value, solution), gradient = jax.value_and_grad(objective, has_aux=True)(reasoner)
        return Estimate(value, gradient, lc.solved(solution), solution.stats.steps)


def mean_of(values: Float[Array, " batch"], counted: Bool[Array, " batch"]) -> Float[Array, ""]:
    """Computes the mean over the samples that count; NaN if none does."""
    return jnp.sum(jnp.where(counted, values, 0)) / jnp.sum(counted)
