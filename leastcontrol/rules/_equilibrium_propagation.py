"""Equilibrium propagation: a contrast of the energy's gradients at two equilibria."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..controllers import AbstractController, LeakyIntegral
from ..equilibrium import (
    ControlProblem,
    FixedPoint,
    Point,
    Sample,
    Solution,
    energy_and_loss,
    free_equilibrium,
    verdict,
)
from ..losses import (
    RESPONSE_ITERATIONS,
    AbstractLoss,
    AnyLoss,
    CrossEntropy,
    as_loss,
    concavity_of,
)
from ..systems import AbstractSystem
from ._policy import AbstractUnsolved, Drop
from ._rule import (
    AbstractRuleWithoutFeedback,
    Aspects,
    Batch,
    Control,
    Counted,
    Credit,
    both_solved,
    check_batch,
    parameter_gradient,
    share_removed,
    with_admitted_targets,
)


class EquilibriumPropagation(AbstractRuleWithoutFeedback):
    """Estimates the gradient of the loss from how an energy changes with a nudge of strength β.

        ∇_θL ≈ (∂_θF(φ^β, β) − ∂_θF(φ^0, 0)) / β                 one-sided
        ∇_θL ≈ (∂_θF(φ^β, β) − ∂_θF(φ^{−β}, −β)) / 2β            centred

    (Scellier and Bengio 2017; Laborieux and others 2021), with errors of order β and β². The energy
    is that of the least-control paper, which any system has (arXiv 2207.01332, equation 10),

        F(φ, θ, β) = ½‖f(φ, θ, x)‖² + ½‖y − h(φ, θ)‖² + βL(y, t).

    It is **not** the Hopfield energy of networks with symmetric weights. The one-sided rule is the
    update of `LeastControl` at the leak 1/β, divided by β.
    `docs/derivations/equilibrium-propagation.md` derives both.

    **Arguments:**

    * `controller`: finds both equilibria; it has no feedback weights.
    * `strength`: β > 0.
    * `centred`: whether the contrast is with −β, or with the free equilibrium. The phase −β pushes
      the output away from its target; output neurons can hold it only while β times the largest
      curvature of the loss is below 1, and other samples count as unsolved.
    * `loss`: of one sample.
    * `unsolved`: the policy for samples of which an equilibrium was not found.

    **Raises:** `ValueError` if the strength is not above 0 and finite.
    """

    controller: AbstractController
    strength: float = eqx.field(static=True)
    centred: bool = eqx.field(static=True)
    loss: AbstractLoss
    unsolved: AbstractUnsolved

    def __init__(
        self,
        controller: AbstractController,
        strength: float,
        *,
        centred: bool = True,
        loss: AnyLoss | None = None,
        unsolved: AbstractUnsolved | None = None,
    ):
        if not 0 < strength < math.inf:
            raise ValueError(
                f"`strength` is {strength}, but a nudge is above 0 and finite: write "
                "EquilibriumPropagation(DynamicInversion(), strength=0.1)."
            )
        self.controller = controller
        self.strength = strength
        self.centred = centred
        self.loss = CrossEntropy() if loss is None else as_loss(loss)
        self.unsolved = Drop() if unsolved is None else unsolved

    @property
    def aspects(self) -> Aspects:
        nudge = Control(
            self.controller, self.loss, LeakyIntegral(1 / self.strength), descended=False
        )
        return Aspects(self, control=nudge, removed=share_removed(self.loss, self.unsolved))

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        del feedback, key
        leak = 1 / self.strength
        check_batch(system, self.loss, batch, leak)
        samples = Sample(jax.vmap(system.drive)(batch.inputs), batch.targets)
        towards = ControlProblem(system, self.loss, leak)
        near = self.controller.equilibrium(towards, samples)
        if self.centred:
            away = ControlProblem(system, _Negated(self.loss), leak)
            far = _held(away, samples, self.controller.equilibrium(away, samples))
            width = 2 * self.strength
        else:
            away, far, width = towards, self._free(system, samples), self.strength
        solution = jax.vmap(both_solved)(near, far.stats.steps, far.stats.error)
        outputs = near.value.output_control.shape[1]
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs)
        counted = Counted.in_batch(batch, self.unsolved, solution)
        inputs, samples = counted.safe((batch.inputs, samples))
        gradients, energies = [], []
        for problem, phase in ((towards, near), (away, far)):
            point, shares = counted.safe((phase.value, phase.shares))
            signal = jax.tree.map(
                lambda leaf: -leaf / width,
                counted.weighted((point.control, point.output_control)),
            )
            gradients.append(
                parameter_gradient(system, inputs, point.state, *signal, shares=shares)
            )
            terms = jax.vmap(lambda s, p, problem=problem: energy_and_loss(problem, s, p))
            energies.append(terms(samples, point))
        gradient = counted.gradient(jax.tree.map(jnp.subtract, *gradients))
        (energy, loss), (other, _) = energies
        # Without the loss the free energy is zero, up to the residual.
        other = other if self.centred else jnp.zeros_like(energy)
        objective = counted.mean(energy - other) / width
        return Credit(gradient, None, objective, counted.mean(loss), counted.count, solution)

    def _free(self, system: AbstractSystem, samples: Sample) -> Solution[Point]:
        solver = FixedPoint.mixed_later()
        free = free_equilibrium(
            system, samples.drive, solver=solver, tolerance=self.controller.tolerance
        )
        field = jax.vmap(system.vector_field)(free.value, samples.drive)
        outputs = jax.vmap(system.readout)(free.value)
        held = jax.tree.map(jnp.negative, field)
        point = Point(free.value, held, jnp.zeros_like(outputs))
        return Solution(point, free.result, free.stats)


def _held(problem: ControlProblem, samples: Sample, far: Solution[Point]) -> Solution[Point]:
    """Marks a sample as unsolved if its stationary point is not a minimum in the output."""

    def of_one(sample: Sample, solution: Solution[Point]) -> Solution[Point]:
        read = problem.system.readout(solution.value.state)
        output = read + problem.own_gain * solution.value.output_control

        def bend(change: Array) -> Array:
            product = problem.loss.hessian_product(output, sample.target, change)
            return problem.leak * change + problem.own_gain * product

        concavity = concavity_of(bend, output, problem.leak)
        error = solution.stats.error
        error = jnp.where(concavity == 0, error, jnp.maximum(error, 1 + concavity))
        return eqx.tree_at(lambda s: (s.result, s.stats.error), solution, (verdict(error), error))

    return jax.vmap(of_one)(samples, far)


class _Negated(AbstractLoss):
    """−L, which turns a nudge into a push away; unlike every other loss it is concave."""

    inner: AbstractLoss

    def __call__(self, output, target):
        return -self.inner(output, target)

    def check_target(self, target, outputs, leak):
        self.inner.check_target(target, outputs, leak)

    def admits(self, target, outputs):
        return self.inner.admits(target, outputs)

    def gradient(self, output, target):
        return -self.inner.gradient(output, target)

    def hessian_product(self, output, target, change):
        return -self.inner.hessian_product(output, target, change)

    def laplacian(self, output, target):
        return -self.inner.laplacian(output, target)

    def concavity(self, output, target, leak):
        # It bends down everywhere; `_held` measures whether the leak holds against that.
        del target, leak
        return jnp.zeros((), output.dtype)

    def trusted_step(self, change: Array) -> Array:
        return self.inner.trusted_step(change)

    def response(self, center, gain, leak, target, guess, iterations=RESPONSE_ITERATIONS):
        # αu − ∇L = 0 is −αu + ∇L = 0.
        return self.inner.response(center, gain, -leak, target, guess, iterations)

    def response_change(self, output, target, gain, leak, change):
        return self.inner.response_change(output, target, gain, -leak, change)
