"""A batch that is to be controlled, and the state that control brings it to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ...controllers import AbstractFeedbackPath, AbstractTeaching
from ...equilibrium import AbstractSum, Dynamics, Moment, Simulation, free_moment, simulate
from ...losses import AbstractLoss
from ...systems import Feedforward
from .._rule import Batch, Counted

Layers = tuple[Float[Array, "..."], ...]


class Task(eqx.Module):
    """A batch that is to be controlled: the network, its feedback, and the data of each sample.

    * `drives`: W_1 x + b_1 of each sample.
    * `free`: voltages and rates at the free equilibrium.
    * `references`: what the teaching compares the outputs with.
    * `admitted`: whether the loss admits the sample's target.
    * `usable`: 1, or 0 for a sample whose target is not admitted or whose free output is not
      finite. Such a sample is replaced by a copy of a usable one, and its weight in every sum is 0.
    """

    network: Feedforward
    path: AbstractFeedbackPath
    weights: PyTree[Array]
    teaching: AbstractTeaching
    loss: AbstractLoss
    inputs: Float[Array, "batch inputs"]
    drives: Float[Array, "batch first"]
    free: Moment
    references: PyTree[Any]
    admitted: Bool[Array, " batch"]
    usable: Float[Array, " batch"]

    @staticmethod
    def of(
        network: Feedforward,
        path: AbstractFeedbackPath,
        weights: PyTree[Array],
        teaching: AbstractTeaching,
        loss: AbstractLoss,
        batch: Batch,
    ) -> "Task":
        """Prepares the task of a batch."""
        drives = jax.vmap(network.drive)(batch.inputs)
        free = jax.vmap(lambda drive: free_moment(network, drive))(drives)
        outputs = free.soma[-1]
        admitted = jax.vmap(lambda target: loss.admits(target, outputs.shape[1]))(batch.targets)
        usable = admitted & jnp.all(jnp.isfinite(outputs), axis=1)
        safe = Counted.of(usable.astype(outputs.dtype)).safe
        inputs, drives, free, targets = safe((batch.inputs, drives, free, batch.targets))
        references = jax.vmap(lambda y, target: teaching.reference(loss, y, target))(
            free.soma[-1], targets
        )
        return Task(
            network,
            path,
            weights,
            teaching,
            loss,
            inputs,
            drives,
            free,
            references,
            admitted,
            usable.astype(outputs.dtype),
        )

    def error(self, free: Array, change: Array, reference: PyTree) -> Array:
        """Computes the error of one sample's output y⁻ + Δy."""
        return self.teaching.error(self.loss, free, change, reference)

    def errors(self, outputs: Float[Array, "batch outputs"]) -> Float[Array, "batch outputs"]:
        """Computes the error of every sample's output."""
        free = self.free.soma[-1]
        return jax.vmap(self.error)(free, outputs - free, self.references)

    def simulate(
        self,
        dynamics: Dynamics,
        sums: tuple[AbstractSum, ...],
        draws: Any,
        record: Callable[[Moment], PyTree[Any]] | None = None,
    ) -> Simulation:
        """Simulates the controlled dynamics, with the error and feedback of this task."""
        return simulate(
            self.network,
            dynamics,
            self.drives,
            (self.free.soma[-1], self.references),
            error=lambda output, sample: self.error(sample[0], output - sample[0], sample[1]),
            feedback=lambda soma, control: self.path.drive(
                self.network, self.weights, soma, control
            ),
            sums=sums,
            draws=draws,
            record=record,
        )


class Controlled(NamedTuple):
    """The controlled state of a batch.

    * `moment`: voltages, rates and control u, at rest or at the end of the simulation.
    * `first_error`, `last_error`: the error e without control, and at that moment.
    """

    moment: Moment
    first_error: Float[Array, "batch outputs"]
    last_error: Float[Array, "batch outputs"]
