"""Phases that simulate the controlled dynamics."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ...controllers import AbstractFeedbackPath, AbstractTeaching
from ...equilibrium import AbstractSum, Dynamics, Moment, Simulation, Solution
from ...systems import Activation, identity
from ._difference import AbstractDifference
from ._phase import (
    AbstractPhase,
    PhaseResult,
    Updates,
    certified,
    row_norms,
    updates_at_rest,
)
from ._task import Controlled, Task


class UpdateSum(AbstractSum):
    """Sums Σ_k Σ_b D_i r_{i−1}ᵀ and Σ_k Σ_b D_i over time; for the first layer, Σ_k D_1.

    The input does not change in time, so the first layer needs only one outer product, at the end.
    The sum begins at the time point `start`; before it no products are formed.
    """

    activation: Activation = eqx.field(static=True)
    difference: AbstractDifference
    weights: Float[Array, " batch"]
    start: int = eqx.field(static=True, default=0)

    def initial(self, first: Moment) -> PyTree[Any]:
        weights = tuple(
            jnp.zeros((soma.shape[1], rate.shape[1]), soma.dtype)
            for soma, rate in zip(first.soma[1:], first.rates, strict=True)
        )
        biases = tuple(jnp.zeros(soma.shape[1], soma.dtype) for soma in first.soma[1:])
        return jnp.zeros_like(first.soma[0]), weights, biases

    def add(
        self, total: PyTree[Any], step: Int[Array, ""], before: Moment, after: Moment
    ) -> PyTree[Any]:
        del before
        if self.start == 0:
            return self._added(total, after)
        # Step number k leads to time point k + 1.
        started = step + 1 >= self.start
        added = lambda held, after: self._added(held, after)  # noqa: E731
        return jax.lax.cond(started, added, lambda held, _: held, total, after)

    def _added(self, total: PyTree[Any], after: Moment) -> PyTree[Any]:
        drawn, weights, biases = total
        last = len(after.soma) - 1
        parts = []
        for index, (basal, soma) in enumerate(zip(after.basal, after.soma, strict=True)):
            activation = self.activation if index < last else identity
            part = self.difference(activation, basal, soma - basal)
            parts.append(self.weights[:, None] * part)
        weights = tuple(
            weight + part.T @ rate
            for weight, part, rate in zip(weights, parts[1:], after.rates, strict=True)
        )
        biases = tuple(
            bias + jnp.sum(part, axis=0) for bias, part in zip(biases, parts[1:], strict=True)
        )
        return drawn + parts[0], weights, biases

    def updates(self, total: PyTree[Any], inputs: Float[Array, "batch _"], points: int) -> Updates:
        """Averages the sums over the time points from `start` on, of `points` in all."""
        points = points - self.start
        drawn, weights, biases = total
        all_weights = (drawn.T @ inputs, *weights)
        all_biases = (jnp.sum(drawn, axis=0), *biases)
        return tuple(
            (weight / points, bias / points)
            for weight, bias in zip(all_weights, all_biases, strict=True)
        )


class AbstractSimulatedPhase(AbstractPhase):
    """Simulates its dynamics; a sample is solved if control brings it near enough to its target."""

    dynamics: eqx.AbstractVar[Dynamics]
    reach: eqx.AbstractVar[float]

    def __check_init__(self):
        if not 0 < self.reach < float("inf"):
            raise ValueError(
                f"`reach` is {self.reach}, but it is the share of the error that control may "
                "leave, above 0 and finite: write reach=0.1."
            )

    @property
    def output_leak(self) -> float:
        return self.dynamics.leak

    @property
    def simulated(self) -> Dynamics:
        return self.dynamics

    @property
    def dynamics_of_noise(self) -> Dynamics | None:
        return self.dynamics if self.dynamics.noise is not None else None

    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Accepts every feedback path and teaching."""


class Continuous(AbstractSimulatedPhase):
    """Averages the updates over the time points of a simulation, all of them or the later ones.

    The sums are taken over the batch while time runs, so every sample counts, whether or not
    control reached its target.

    **Arguments:**

    * `dynamics`: what is simulated.
    * `reach`: a sample is solved if control leaves at most this share of its error,
      ‖e_end‖ ≤ reach · ‖e_0‖. That is only reported.
    * `start`: the time point at which averaging begins; by default the first, as in the papers.
      Before it nothing is learned and no products are formed.

    **Raises:** `ValueError` if `reach` is not positive, or if `start` is not a time point of the
    simulation.
    """

    dynamics: Dynamics
    reach: float = eqx.field(static=True, default=1.0)
    start: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        points = self.dynamics.points
        if not 0 <= self.start < points:
            raise ValueError(
                f"`start` is {self.start}, but it is one of the {points} time points, from 0 to "
                f"{points - 1}: write start={points // 2}."
            )

    @property
    def at_rest(self) -> bool:
        return False

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        update_sum = UpdateSum(task.network.activation, difference, task.usable, self.start)
        simulation = task.simulate(self.dynamics, (update_sum, *sums), draws)
        updates = update_sum.updates(simulation.sums[0], task.inputs, self.dynamics.points)
        solution = _simulated(task, self.dynamics, simulation, self.reach)
        return PhaseResult(updates, task.usable, solution, simulation.sums[1:], None)


class SimulatedSteadyState(AbstractSimulatedPhase):
    """Reads the update off at the last time point of a simulation ("ss").

    **Arguments:** `dynamics` and `reach` as for `Continuous`.

    **Raises:** `ValueError` if `reach` is not positive.
    """

    dynamics: Dynamics
    reach: float = eqx.field(static=True, default=1.0)

    @property
    def at_rest(self) -> bool:
        return True

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        simulation = task.simulate(self.dynamics, sums, draws)
        last = simulation.last
        change = tuple(v - basal for v, basal in zip(last.soma, last.basal, strict=True))
        updates = updates_at_rest(task, difference, change, last.rates, task.usable)
        solution = _simulated(task, self.dynamics, simulation, self.reach)
        return PhaseResult(updates, task.usable, solution, simulation.sums, None)


def _simulated(
    task: Task, dynamics: Dynamics, simulation: Simulation, reach: float
) -> Solution[Controlled]:
    last = simulation.last
    first_errors, last_errors = task.errors(task.free.soma[-1]), task.errors(last.soma[-1])
    before, after = row_norms(first_errors), row_norms(last_errors)
    # Where there is no error to begin with, none can be asked to go away.
    ratio = jnp.where(before > 0, after / jnp.where(before > 0, before, 1), 0 * after)
    steps = jnp.full(len(before), dynamics.points - 1, jnp.int32)
    residual = row_norms(last_errors - dynamics.leak * last.control)
    value = Controlled(last, first_errors, last_errors)
    return certified(task, value, steps, residual, ratio / reach, simulated=True)
