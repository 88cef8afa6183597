"""The phase in which a feedforward network is controlled, and what its weights learn from it.

How the controlled state is reached is a **phase**: by simulation, summing updates while time runs
(`Continuous`) or reading them off at its end (`SimulatedSteadyState`), from the linearised rest
point (`AnalyticSteadyState`), or from the rest point itself, solved for (`SteadyState`). What one
neuron's update reads of it is a **difference**: of its rates with and without its apical voltage
(`RateDifference`), or of its voltages (`VoltageDifference`).
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..controllers import (
    AbstractFeedbackPath,
    AbstractTeaching,
    FeedbackEquilibrium,
    FeedbackRest,
    FeedbackSample,
    JacobianFeedback,
    feedback_equilibrium,
    linearised_control,
)
from ..equilibrium import (
    RESULTS,
    AbstractSum,
    Certificate,
    Dynamics,
    FixedPoint,
    Moment,
    Simulation,
    Solution,
    Tolerance,
    free_moment,
    normal_draws,
    simulate,
    verdict,
)
from ..losses import AbstractLoss
from ..systems import Activation, Feedforward, activation_difference, identity
from ._policy import AbstractUnsolved, Drop
from ._rule import Batch, Counted, result_with_target

Layers = tuple[Float[Array, "..."], ...]
Updates = tuple[tuple[Float[Array, "_ _"], Float[Array, " _"]], ...]


class AbstractDifference(eqx.Module):
    """What the postsynaptic side of an update reads of a neuron."""

    @abc.abstractmethod
    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """Returns D for the basal voltage v_ff and the change v − v_ff."""


class RateDifference(AbstractDifference):
    """D = σ(v) − σ(v_ff) (arXiv 2106.07887, equation 8)."""

    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        return activation_difference(activation, basal, change)


class VoltageDifference(AbstractDifference):
    """D = v − v_ff."""

    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        del activation, basal
        return change


class Task(eqx.Module):
    """A batch that is to be controlled: the network and its feedback, and each sample's own.

    `drives`, `free` and `references` have a leading batch axis: W_1 x + b_1, the moment at rest
    without control, and what the teaching compares with. A sample whose free output is not finite
    or whose target the loss does not admit is not `usable`: it is a copy of one that is, and its
    weight in every sum is 0.
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
        """Returns the task of a batch."""
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
        """Returns one sample's error of the output y⁻ + Δy."""
        return self.teaching.error(self.loss, free, change, reference)

    def errors(self, outputs: Float[Array, "batch outputs"]) -> Float[Array, "batch outputs"]:
        """Returns every sample's error of its output."""
        free = self.free.soma[-1]
        return jax.vmap(self.error)(free, outputs - free, self.references)

    def simulate(
        self,
        dynamics: Dynamics,
        sums: tuple[AbstractSum, ...],
        draws: Any,
        record: Callable[[Moment], PyTree[Any]] | None = None,
    ) -> Simulation:
        """Runs the dynamics, with the task's error and feedback."""
        return simulate(
            self.network,
            dynamics,
            self.drives,
            (self.free.soma[-1], self.references),
            error=lambda output, own: self.error(own[0], output - own[0], own[1]),
            feedback=lambda soma, control: self.path.drive(
                self.network, self.weights, soma, control
            ),
            sums=sums,
            draws=draws,
            record=record,
        )


class Controlled(NamedTuple):
    """The controlled state of a batch.

    * `moment`: voltages, rates and control u at rest, or at the end of the simulation.
    * `first_error`, `last_error`: e without control, and at that moment.
    """

    moment: Moment
    first_error: Float[Array, "batch outputs"]
    last_error: Float[Array, "batch outputs"]


class PhaseResult(NamedTuple):
    """What a phase leaves for the rule: the sums of updates over the batch, and the rest.

    * `updates`: for each layer Σ_b D rᵀ and Σ_b D, averaged over time where time is summed.
    * `weights`: of each sample in them, 1 or 0 for one that was dropped.
    * `totals`: the further sums that were asked for.
    * `rest`: what `SteadyState` solved, else `None`.
    """

    updates: Updates
    weights: Float[Array, " batch"]
    solution: Solution[Controlled]
    totals: tuple[PyTree[Any], ...]
    rest: FeedbackRest | None

    @property
    def counted(self) -> Float[Array, ""]:
        """How many samples the updates are of."""
        return jnp.sum(self.weights)


class AbstractPhase(eqx.Module):
    """A way to the controlled state and the updates that it asks for."""

    @property
    @abc.abstractmethod
    def dynamics_of_noise(self) -> Dynamics | None:
        """The dynamics that the phase simulates, if they have noise."""

    @property
    def at_rest(self) -> bool:
        """Whether the updates are read off at one point."""
        return True

    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Raises `ValueError` for a path or a teaching that the phase cannot take."""
        del path, teaching

    @abc.abstractmethod
    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        """Controls a batch.

        **Arguments:** `task`; `difference`, of the updates; `sums`, further ones over a simulation;
        `draws`, for the noise.
        """


class UpdateSum(AbstractSum):
    """Σ_k Σ_b D_i r_{i−1}ᵀ and Σ_k Σ_b D_i; for the first layer Σ_k D_1 of each sample.

    The input does not change in time, so that the first layer needs one outer product at the end.
    The sum starts with the time point `start`; earlier ones form no products.
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
        """Returns the mean over the time points that were summed, of K in all."""
        points = points - self.start
        drawn, weights, biases = total
        all_weights = (drawn.T @ inputs, *weights)
        all_biases = (jnp.sum(drawn, axis=0), *biases)
        return tuple(
            (weight / points, bias / points)
            for weight, bias in zip(all_weights, all_biases, strict=True)
        )


class AbstractSimulatedPhase(AbstractPhase):
    """A phase that simulates its dynamics, and is solved where control reaches its target."""

    dynamics: eqx.AbstractVar[Dynamics]
    reach: eqx.AbstractVar[float]

    def __check_init__(self):
        if not 0 < self.reach < float("inf"):
            raise ValueError(
                f"`reach` is {self.reach}, but it is the share of the error that control may "
                "leave, above 0 and finite: write reach=0.1."
            )

    @property
    def dynamics_of_noise(self) -> Dynamics | None:
        return self.dynamics if self.dynamics.noise is not None else None


class Continuous(AbstractSimulatedPhase):
    """Updates at the time points of a simulation, averaged over all K of them or the later ones.

    A batch is summed while time runs, so that every sample counts, however it ended.

    **Arguments:**

    * `dynamics`: of the simulation.
    * `reach`: a sample is solved if the control leaves at most this share of its error,
      ‖e_end‖ ≤ reach · ‖e_0‖; only reported.
    * `start`: the time point from which updates are averaged; all of them by default, as in the
      papers. Before it nothing is learned and no products are formed.

    **Raises:** `ValueError` for a `reach` that is not positive, and for a `start` that is no time
    point of the simulation.
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
        own = UpdateSum(task.network.activation, difference, task.usable, self.start)
        simulation = task.simulate(self.dynamics, (own, *sums), draws)
        updates = own.updates(simulation.sums[0], task.inputs, self.dynamics.points)
        solution = _simulated(task, self.dynamics, simulation, self.reach)
        return PhaseResult(updates, task.usable, solution, simulation.sums[1:], None)


class SimulatedSteadyState(AbstractSimulatedPhase):
    """The update at the last time point of a simulation ("ss").

    **Arguments:** `dynamics` and `reach` as for `Continuous`.

    **Raises:** `ValueError` for a `reach` that is not positive.
    """

    dynamics: Dynamics
    reach: float = eqx.field(static=True, default=1.0)

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


class AnalyticSteadyState(AbstractPhase):
    """The update at the rest point of the linearised network ("ssa").

    (JQ + αI)u = e at the free output, then one pass with Δv = Qu through the nonlinear network
    (arXiv 2106.07887, equation 5). It knows nothing of how e changes with the output, so it is for
    nudging.

    **Arguments:** `leak`, α ≥ 0.

    **Raises:** `ValueError` for a leak below zero.
    """

    leak: float = eqx.field(static=True)

    def __check_init__(self):
        _check_leak(self.leak)

    @property
    def dynamics_of_noise(self) -> None:
        return None

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        del draws
        assert not sums
        free = task.free.soma
        weights = None if isinstance(task.path, JacobianFeedback) else task.weights
        errors = task.errors(free[-1])
        control, change = jax.vmap(
            lambda v, e: linearised_control(task.network, weights, self.leak, v, e)
        )(free, errors)
        moment = _settled(task, control, change)
        updates = updates_at_rest(task, difference, change, moment.rates, task.usable)
        last_errors = task.errors(moment.soma[-1])
        residual = _norms(last_errors - self.leak * control)
        # The linearised equation holds; how far it is from the nonlinear one is the residual.
        error = jnp.where(jnp.isfinite(_norms(control)), 0.0, jnp.nan).astype(residual.dtype)
        solution = _solution(
            task,
            Controlled(moment, errors, last_errors),
            jnp.ones(len(error), jnp.int32),
            residual,
            error,
        )
        return PhaseResult(updates, task.usable, solution, (), None)


class SteadyState(AbstractPhase):
    """The update at the rest point that the noise-free dynamics end at, solved for.

    The same rest point as that of a simulation with the same leak, whatever its other constants
    are, in a few passes instead of hundreds; certified by ‖e − αu‖ there.

    **Arguments:**

    * `leak`: α > 0.
    * `tolerance`: of ‖e − αu‖, relative to the error without control.
    * `solver`: of the iteration on u.
    * `unsolved`: what becomes of samples whose rest point was not found.

    **Raises:** `ValueError` for a leak that is not above zero, and for a path without weights of
    its own.
    """

    leak: float = eqx.field(static=True)
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=40)
    unsolved: AbstractUnsolved = Drop()

    def __check_init__(self):
        _check_leak(self.leak)
        if self.leak == 0:
            raise ValueError(
                "`leak` is 0.0, but the rest point is solved for with a leak above 0: write "
                "SteadyState(1e-3)."
            )

    @property
    def dynamics_of_noise(self) -> None:
        return None

    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Raises `ValueError` for a path without weights of its own."""
        del teaching
        if not path.learns:
            raise ValueError(
                f"{type(path).__name__} has no feedback weights to solve the rest point with. With "
                "the Jacobian it is the least-control state: write "
                "LeastControl(DynamicInversion(), leak)."
            )

    def problem(self, task: Task) -> tuple[FeedbackEquilibrium, FeedbackSample]:
        """Returns the rest point's problem and its samples."""
        problem = FeedbackEquilibrium(
            task.network, task.weights, task.teaching, task.loss, self.leak, self.tolerance
        )
        return problem, FeedbackSample(task.free.soma, task.references)

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        del draws
        assert not sums
        problem, samples = self.problem(task)
        rest = feedback_equilibrium(problem, self.solver, samples)
        control, changes = rest.point
        apical = tuple(control @ weight.T for weight in task.weights)
        soma = tuple(v + change for v, change in zip(task.free.soma, changes, strict=True))
        rates = tuple(task.network.activation(v) for v in soma[:-1])
        basal = tuple(v - own for v, own in zip(soma, apical, strict=True))
        moment = Moment(soma, basal, apical, rates, control)
        last_errors = jax.vmap(problem.output_error)(samples, changes[-1])
        value = Controlled(moment, task.errors(task.free.soma[-1]), last_errors)
        solution = _solution(task, value, rest.steps, rest.residual, rest.error)
        weights = self.unsolved.weights(solution)
        apical, rates = Counted.of(weights).safe((apical, rates))
        updates = updates_at_rest(task, difference, apical, rates, weights)
        return PhaseResult(updates, weights, solution, (), rest)


def updates_at_rest(
    task: Task,
    difference: AbstractDifference,
    change: Layers,
    rates: Layers,
    weights: Float[Array, " batch"],
) -> Updates:
    """Returns Σ_b D_i r_{i−1}ᵀ and Σ_b D_i at one point of each sample.

    The basal voltage is that which the rates of this same moment give.
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


def noise_of_updates(
    task: Task, result: PhaseResult, deviation: float, key: PRNGKeyArray | None
) -> Updates:
    """Returns Σ_b ε_i r_{i−1}ᵀ and Σ_b ε_i, for noise ε_i that stands still during a phase.

    **Raises:** `ValueError` without a key.
    """
    if key is None:
        raise ValueError(
            "The updates have noise, which is drawn from a key: call the rule with "
            "key=jax.random.key(0)."
        )
    rates = Counted.of(result.weights).safe(result.solution.value.moment.rates)
    drawn = normal_draws(key, task.free.soma)(jnp.asarray(0))
    noise = [deviation * result.weights[:, None] * own for own in drawn]
    return tuple(
        (own.T @ rate, jnp.sum(own, axis=0))
        for own, rate in zip(noise, (task.inputs, *rates), strict=True)
    )


def draws_of(dynamics: Dynamics | None, task: Task, key: PRNGKeyArray | None) -> Any:
    """Returns the noise's increments for noisy dynamics; `None` for quiet ones.

    **Raises:** `ValueError` for noise without a key.
    """
    if dynamics is None or dynamics.noise is None:
        return None
    if key is None:
        raise ValueError(
            "The simulated dynamics have noise, which is drawn from a key: call the rule with "
            "key=jax.random.key(0)."
        )
    return dynamics.noise.increments(key, task.free.soma)


def _settled(task: Task, control: Float[Array, "batch _"], change: Layers) -> Moment:
    """Returns the moment in which each layer has its basal voltage plus a given change."""
    hidden = jax.vmap(task.network.settle)(task.drives, change[:-1])
    rates = tuple(task.network.activation(v) for v in hidden)
    output = jax.vmap(task.network.readout)(hidden) + change[-1]
    soma = (*hidden, output)
    basal = tuple(v - own for v, own in zip(soma, change, strict=True))
    return Moment(soma, basal, change, rates, control)


def _norms(rows: Float[Array, "batch _"]) -> Float[Array, " batch"]:
    return jnp.linalg.norm(rows, axis=1)


def _simulated(
    task: Task, dynamics: Dynamics, simulation: Simulation, reach: float
) -> Solution[Controlled]:
    last = simulation.last
    first_errors, last_errors = task.errors(task.free.soma[-1]), task.errors(last.soma[-1])
    before, after = _norms(first_errors), _norms(last_errors)
    # Where there is no error to begin with, none can be asked to go away.
    ratio = jnp.where(before > 0, after / jnp.where(before > 0, before, 1), 0 * after)
    steps = jnp.full(len(before), dynamics.points - 1, jnp.int32)
    residual = _norms(last_errors - dynamics.leak * last.control)
    value = Controlled(last, first_errors, last_errors)
    return _solution(task, value, steps, residual, ratio / reach, simulated=True)


def _solution(
    task: Task,
    value: Controlled,
    steps: Int[Array, " batch"],
    residual: Float[Array, " batch"],
    error: Float[Array, " batch"],
    *,
    simulated: bool = False,
) -> Solution[Controlled]:
    moment = value.moment
    rows = zip(moment.soma, moment.basal, moment.apical, strict=True)
    unrest = jnp.concatenate([basal + apical - v for v, basal, apical in rows], axis=1)
    missed = RESULTS.target_not_reached if simulated else RESULTS.not_at_rest
    # A sample that cannot be used was replaced by another one.
    error = jnp.where(task.usable > 0, error, jnp.nan)
    stats = Certificate(
        steps,
        _norms(unrest),
        # The control is not the least one, and that it be so is no condition of this rest point.
        jnp.zeros_like(residual),
        residual,
        _norms(jnp.concatenate(moment.apical, axis=1)),
        error,
    )
    result = jax.vmap(lambda own: verdict(own, missed))(error)
    return Solution(value, result_with_target(task.admitted, result), stats)


def _check_leak(leak: float) -> None:
    if not 0 <= leak < float("inf"):
        raise ValueError(f"`leak` is {leak}, but a leak is finite and at least 0: write leak=0.01.")
