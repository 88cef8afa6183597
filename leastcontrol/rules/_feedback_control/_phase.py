"""The interface of a phase, and what all phases compute at their end."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ...controllers import AbstractFeedbackPath, AbstractTeaching, FeedbackRest
from ...equilibrium import RESULTS, AbstractSum, Certificate, Dynamics, Solution, verdict
from ...systems import identity
from .._rule import result_with_target
from ._difference import AbstractDifference
from ._task import Controlled, Layers, Task

Updates = tuple[tuple[Float[Array, "_ _"], Float[Array, " _"]], ...]


class PhaseResult(NamedTuple):
    """What a phase computes for the rule.

    * `updates`: Σ_b D rᵀ and Σ_b D for each layer; a phase that sums over time averages over it.
    * `weights`: of each sample in `updates`, 1, or 0 for one that was dropped.
    * `totals`: the further sums that were asked for.
    * `rest`: what `SteadyState` solved for, else `None`.
    """

    updates: Updates
    weights: Float[Array, " batch"]
    solution: Solution[Controlled]
    totals: tuple[PyTree[Any], ...]
    rest: FeedbackRest | None

    @property
    def counted(self) -> Float[Array, ""]:
        """The number of samples in the updates."""
        return jnp.sum(self.weights)


class AbstractPhase(eqx.Module):
    """Brings a batch to its controlled state and computes the updates there."""

    @property
    @abc.abstractmethod
    def output_leak(self) -> float:
        """The leak α of the output control."""

    @property
    @abc.abstractmethod
    def simulated(self) -> Dynamics | None:
        """The dynamics that the phase simulates; `None` if it computes where they end."""

    @property
    @abc.abstractmethod
    def dynamics_of_noise(self) -> Dynamics | None:
        """The dynamics that the phase simulates with noise; `None` if there is no noise."""

    @property
    @abc.abstractmethod
    def at_rest(self) -> bool:
        """Whether the updates are read off at one point, not summed over time."""

    @abc.abstractmethod
    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Raises `ValueError` if the phase cannot use this feedback path or teaching."""

    @abc.abstractmethod
    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        """Controls a batch and computes its updates.

        **Arguments:**

        * `task`: the batch.
        * `difference`: what the updates read of a neuron.
        * `sums`: further sums to be taken over a simulation.
        * `draws`: for the noise.
        """


def updates_at_rest(
    task: Task,
    difference: AbstractDifference,
    change: Layers,
    rates: Layers,
    weights: Float[Array, " batch"],
) -> Updates:
    """Computes Σ_b D_i r_{i−1}ᵀ and Σ_b D_i at one point of each sample.

    The basal voltage is computed from the rates at that point.
    """
    presynaptic = (task.inputs, *rates)
    last = len(change) - 1
    updates = []
    for index, layer in enumerate(task.network.layers):
        basal = task.drives if index == 0 else jax.vmap(layer)(presynaptic[index])
        activation = task.network.activation if index < last else identity
        part = weights[:, None] * difference(activation, basal, change[index])
        updates.append((part.T @ presynaptic[index], jnp.sum(part, axis=0)))
    return tuple(updates)


def row_norms(rows: Float[Array, "batch _"]) -> Float[Array, " batch"]:
    """Computes the Euclidean norm of each row."""
    return jnp.linalg.norm(rows, axis=1)


def certified(
    task: Task,
    value: Controlled,
    steps: Int[Array, " batch"],
    residual: Float[Array, " batch"],
    error: Float[Array, " batch"],
    *,
    simulated: bool = False,
) -> Solution[Controlled]:
    """Certifies a controlled state: solved where `error` ≤ 1, with `residual` for the leak's."""
    moment = value.moment
    rows = zip(moment.soma, moment.basal, moment.apical, strict=True)
    unrest = jnp.concatenate([basal + apical - v for v, basal, apical in rows], axis=1)
    missed = RESULTS.target_not_reached if simulated else RESULTS.not_at_rest
    # A sample that cannot be used was replaced by another one.
    error = jnp.where(task.usable > 0, error, jnp.nan)
    stats = Certificate(
        steps,
        row_norms(unrest),
        # This equilibrium does not require that the control be the least.
        jnp.zeros_like(residual),
        residual,
        row_norms(jnp.concatenate(moment.apical, axis=1)),
        error,
    )
    result = jax.vmap(lambda e: verdict(e, missed))(error)
    return Solution(value, result_with_target(task.admitted, result), stats)
