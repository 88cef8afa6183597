"""Backpropagation through the steps of a solve: the baseline that stores them all."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..equilibrium import Tolerance, certify_free
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
    gradient_through,
    with_admitted_targets,
)


class BackpropagationThroughTime(AbstractRuleWithoutFeedback):
    """Differentiates the loss after K steps φ ← φ + f(φ), in reverse mode through all of them.

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

        def losses(learned: PyTree, batch: Batch) -> tuple[Array, tuple[PyTree[Array], Array]]:
            system = eqx.combine(learned, fixed)

            def of_one(x: PyTree, target: PyTree) -> tuple[Array, tuple[PyTree[Array], Array]]:
                drive = system.drive(x)

                def step(state: PyTree[Array], _: None) -> tuple[PyTree[Array], None]:
                    return jax.tree.map(jnp.add, state, system.vector_field(state, drive)), None

                state, _ = jax.lax.scan(step, system.initial_state(drive), length=self.steps)
                output = system.readout(state)
                return self.loss(output, target), (state, output)

            return jax.vmap(of_one)(batch.inputs, batch.targets)

        values, pull, (states, outputs) = jax.vjp(
            lambda learned: losses(learned, batch), learned, has_aux=True
        )
        steps = jnp.full(values.shape, self.steps, jnp.int32)
        drives = jax.vmap(system.drive)(batch.inputs)
        solution = certify_free(system, drives, states, steps, self.tolerance)
        solution = with_admitted_targets(solution, self.loss, batch.targets, outputs.shape[1])
        counted = Counted.in_batch(batch, self.unsolved, solution)
        gradient = gradient_through(losses, learned, batch, counted, pull)
        loss = counted.mean(values)
        return Credit(gradient, None, loss, loss, counted.count, solution)
