"""Backpropagation through the steps of a solve: the baseline that stores them all."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..equilibrium import Tolerance, certify_free
from ..equilibrium._trees import tree_add
from ..losses import AbstractLoss, CrossEntropy, as_loss
from ..systems import AbstractSystem
from ._policy import AbstractUnsolved, Drop
from ._rule import (
    AbstractRuleWithoutFeedback,
    Aspects,
    Batch,
    Counted,
    Credit,
    check_batch,
    with_admitted_targets,
)


class BackpropagationThroughTime(AbstractRuleWithoutFeedback):
    """Differentiates the loss after K steps φ ← φ + f(φ), in reverse mode through all of them.

        dL/dθ = ∂_θφ₀ᵀa₀ + Σ_{k<K} ∂_θf(φ_k)ᵀa_{k+1} + ∂_θh(φ_K)ᵀe,   e = ∇_yL
        a_K = ∂_φh(φ_K)ᵀe,   a_k = a_{k+1} + ∂_φf(φ_k)ᵀa_{k+1}

    Only the states φ_k are stored. They are gone through once on the way back, where those of a
    sample that does not count are replaced by those of one that does.

    For K → ∞ the gradient becomes that of `RecurrentBackpropagation`. Its memory grows with K,
    which rules at equilibrium avoid (arXiv 2207.01332, section 1). A sample is unsolved if its last
    state is not at rest within the tolerance.

    **Arguments:**

    * `loss`: of one sample.
    * `steps`: K.
    * `tolerance`: of ‖f‖ at the last state, relative to ‖φ‖.
    * `unsolved`: the policy for unsolved samples.

    **Raises:** `ValueError` if there is less than one step.
    """

    loss: AbstractLoss = eqx.field(converter=as_loss, default=CrossEntropy())
    steps: int = eqx.field(static=True, default=30)
    tolerance: Tolerance = Tolerance()
    unsolved: AbstractUnsolved = Drop()

    def __check_init__(self):
        if self.steps < 1:
            raise ValueError(
                f"`steps` is {self.steps}, but the state takes at least one: write "
                "BackpropagationThroughTime(steps=30)."
            )

    @property
    def aspects(self) -> Aspects:
        return Aspects(self)

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
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def begin(learned: PyTree, inputs: PyTree) -> tuple[PyTree, PyTree]:
            system = eqx.combine(learned, fixed)
            drives = jax.vmap(system.drive)(inputs)
            return jax.vmap(system.initial_state)(drives), drives

        def step(learned: PyTree, states: PyTree, drives: PyTree) -> PyTree[Array]:
            system = eqx.combine(learned, fixed)
            return tree_add(states, jax.vmap(system.vector_field)(states, drives))

        def read(learned: PyTree, states: PyTree) -> Array:
            return jax.vmap(eqx.combine(learned, fixed).readout)(states)

        def forward(states: PyTree, _: None) -> tuple[PyTree, PyTree]:
            return step(learned, states, drives), states

        first, drives = begin(learned, batch.inputs)
        last, earlier = jax.lax.scan(forward, first, length=self.steps)
        outputs = read(learned, last)
        steps = jnp.full(len(outputs), self.steps, jnp.int32)
        solution = certify_free(system, drives, last, steps, self.tolerance)
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs.shape[1])
        counted = Counted.in_batch(batch, self.unsolved, solution)
        errors = counted.weighted(jax.vmap(self.loss.gradient)(outputs, batch.targets))

        inputs, drives, last = counted.safe((batch.inputs, drives, last))
        # Labels and keys among the drives have no derivative.
        moving, labels = eqx.partition(drives, eqx.is_inexact_array)

        def backward(behind: tuple[PyTree, ...], states: PyTree) -> tuple[tuple, None]:
            gradient, signals, drive_signals = behind

            def onwards(learned: PyTree, states: PyTree, moving: PyTree) -> PyTree:
                return step(learned, states, eqx.combine(moving, labels))

            _, pull = jax.vjp(onwards, learned, counted.safe(states), moving)
            added, signals, added_to_drives = pull(signals)
            return (
                tree_add(gradient, added),
                signals,
                tree_add(drive_signals, added_to_drives),
            ), None

        def first_and_moving(learned: PyTree) -> tuple[PyTree, PyTree]:
            first, drives = begin(learned, inputs)
            return first, eqx.filter(drives, eqx.is_inexact_array)

        _, pull = jax.vjp(read, learned, last)
        behind = (*pull(errors), jax.tree.map(jnp.zeros_like, moving))
        (gradient, *signals), _ = jax.lax.scan(backward, behind, earlier, reverse=True)
        _, pull = jax.vjp(first_and_moving, learned)
        gradient = tree_add(gradient, pull(tuple(signals))[0])
        loss = counted.mean(jax.vmap(self.loss)(outputs, batch.targets))
        return Credit(counted.gradient(gradient), None, loss, loss, counted.count, solution)
