"""The baselines, which compute the exact gradient of the loss at the free equilibrium."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..equilibrium import (
    AdjointSystem,
    Controlled,
    FixedPoint,
    Linearised,
    Sample,
    Solution,
    Tolerance,
    certify_free,
    controlled_rest,
    free_equilibrium,
)
from ..losses import AbstractLoss, CrossEntropy, as_loss
from ..systems import AbstractOrderedSystem, AbstractSystem
from ._policy import AbstractUnsolved, Drop
from ._rule import (
    AbstractRule,
    AbstractRuleWithoutFeedback,
    Aspects,
    Batch,
    Counted,
    Credit,
    Equations,
    both_solved,
    check_batch,
    parameter_gradient,
    with_admitted_targets,
)


class Backpropagation(AbstractRuleWithoutFeedback):
    """Computes ∂_θfᵀa + ∂_θhᵀe at the state of the one pass of an ordered system, e = ∇_yL.

    The adjoint a is the derivative of the output in what is added to f, which reverse mode takes
    back through the pass. Weights learn from it only where a sample counts, so that what is not
    finite in another sample spoils nothing.

    **Arguments:** `loss`, of one sample.

    **Raises:** `ValueError` if the system is not ordered.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())

    @property
    def aspects(self) -> Aspects:
        return Aspects(self, descends_loss=True)

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        del feedback, key
        check_batch(system, self.loss, batch, 1.0)
        if not isinstance(system, AbstractOrderedSystem):
            raise ValueError(
                f"Backpropagation goes through an ordered system, and {type(system).__name__} is "
                "not one: write RecurrentBackpropagation()."
            )
        drives = jax.vmap(system.drive)(batch.inputs)

        def forward(added: PyTree) -> tuple[Array, PyTree]:
            states = jax.vmap(system.settle)(drives, added)
            return jax.vmap(system.readout)(states), states

        nothing = jax.tree.map(jnp.zeros_like, jax.vmap(system.initial_state)(drives))
        # The way back from the output to what is added to f is the adjoint −(∂_φfᵀ)⁻¹∂_φhᵀe.
        outputs, pull, states = jax.vjp(forward, nothing, has_aux=True)
        steps = jnp.ones(len(outputs), jnp.int32)
        solution = certify_free(system, drives, states, steps, Tolerance())
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs.shape[1])
        counted = Counted.in_batch(batch, Drop(), solution)
        errors = jax.vmap(self.loss.gradient)(outputs, batch.targets)
        adjoint, errors = counted.weighted((pull(errors)[0], errors))
        inputs, states = counted.safe((batch.inputs, states))
        gradient = parameter_gradient(system, inputs, states, adjoint, errors)
        loss = counted.mean(jax.vmap(self.loss)(outputs, batch.targets))
        return Credit(counted.gradient(gradient), None, loss, loss, counted.count, solution)


Adjoint = Callable[
    [PyTree[Any], PyTree[Array], Array],
    tuple[PyTree[Array], Int[Array, " batch"], Float[Array, " batch"]],
]


class AbstractRuleAtRest(AbstractRule):
    """Computes ∂_θfᵀa + ∂_θhᵀe at the free equilibrium, for e = ∇_yL and an adjoint a(e).

    Subclasses differ in the way back, which computes the adjoint. A sample counts as solved if both
    its equilibrium and its adjoint are.
    """

    tolerance: eqx.AbstractVar[Tolerance]
    solver: eqx.AbstractVar[FixedPoint]
    unsolved: eqx.AbstractVar[AbstractUnsolved]

    @abc.abstractmethod
    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Builds the map from a batch's (drives, states, e) to a, its steps and its errors."""

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        del key
        adjoint = self.way_back(system, feedback)
        check_batch(system, self.loss, batch, 1.0)
        drives = jax.vmap(system.drive)(batch.inputs)
        free = free_equilibrium(system, drives, solver=self.solver, tolerance=self.tolerance)
        outputs = jax.vmap(system.readout)(free.value)
        losses = jax.vmap(self.loss)(outputs, batch.targets)
        errors = jax.vmap(self.loss.gradient)(outputs, batch.targets)
        signal, steps, error = adjoint(drives, free.value, errors)

        solution = jax.vmap(both_solved)(free, steps, error)
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs.shape[1])
        counted = Counted.in_batch(batch, self.unsolved, solution)
        inputs, states = counted.safe((batch.inputs, free.value))
        gradient = parameter_gradient(system, inputs, states, *counted.weighted((signal, errors)))
        loss = counted.mean(losses)
        return Credit(counted.gradient(gradient), None, loss, loss, counted.count, solution)


class RecurrentBackpropagation(AbstractRuleAtRest, AbstractRuleWithoutFeedback):
    """Differentiates the loss at the free equilibrium, by implicit differentiation.

        dL/dθ = ∂_θfᵀa + ∂_θhᵀe,   e = ∇_yL,   ∂_φfᵀa + ∂_φhᵀe = 0

    (Almeida 1987, Pineda 1987; the baseline of arXiv 2207.01332, section 4.2.) It forms no matrix
    but runs two iterations, the second of them linear. A sample counts as solved if both are.

    **Arguments:**

    * `loss`: of one sample.
    * `tolerance`: of both residuals, relative to ‖φ‖ and to ‖a‖.
    * `solver`: of both iterations; by default at most 200 steps, of which the later ones mix
      iterates.
    * `unsolved`: the policy for unsolved samples.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint.mixed_later()
    unsolved: AbstractUnsolved = Drop()

    @property
    def aspects(self) -> Aspects:
        equations = Equations(self._unknowns, self._residual, self._signals)
        return Aspects(self, descends_loss=True, equations=equations)

    def _unknowns(self, system: AbstractSystem, batch: Batch, solution: Solution) -> Any:
        drives, states = jax.vmap(system.drive)(batch.inputs), solution.value
        errors = jax.vmap(self.loss.gradient)(jax.vmap(system.readout)(states), batch.targets)
        adjoint, _, _ = self.way_back(system, None)(drives, states, errors)
        return states, adjoint

    def _residual(self, system: AbstractSystem, sample: Sample, unknowns: Any) -> Any:
        state, adjoint = unknowns
        field, read, pull = system.pullback(state, sample.drive)
        return field, pull(adjoint, self.loss.gradient(read, sample.target))

    def _signals(self, system: AbstractSystem, sample: Sample, unknowns: Any) -> Any:
        state, adjoint = unknowns
        return adjoint, self.loss.gradient(system.readout(state), sample.target)

    def way_back(self, system: AbstractSystem, feedback: PyTree[Any]) -> Adjoint:
        """Builds the solve of ∂_φfᵀa + ∂_φhᵀe = 0."""
        del feedback
        return adjoint_of(system, self.tolerance, self.solver)


def backpropagation_through(
    system: AbstractSystem, loss: AbstractLoss
) -> Backpropagation | RecurrentBackpropagation:
    """Builds the rule that differentiates the loss exactly, by the structure of the system."""
    if isinstance(system, AbstractOrderedSystem):
        return Backpropagation(loss)
    return RecurrentBackpropagation(loss=loss)


def adjoint_of(system: AbstractSystem, tolerance: Tolerance, solver: FixedPoint) -> Adjoint:
    """Builds the way back through a system: the solve of ∂_φfᵀa + ∂_φhᵀe = 0 for a."""

    def adjoint(drives: PyTree, states: PyTree, errors: Array) -> tuple[PyTree, Array, Array]:
        points = Controlled(Linearised(drives, states, errors), None)
        return controlled_rest(
            AdjointSystem(system=system), points, solver=solver, tolerance=tolerance
        )

    return adjoint
