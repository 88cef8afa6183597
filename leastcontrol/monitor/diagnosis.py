"""What a run measures of its own learning, beside its figures, on the same few samples every time.

The figures have names, and numbers by the part of the system that they are of; `all` is the whole.

* `angle_to_loss`: between the rule's gradient and that of the loss at the free equilibrium, in
  degrees, for each part of the system that has parameters.
* `control`: the root mean square of the control over the neurons of a part and over the samples, in
  units of the state; `output` is the output control.
* `condition`: how much of direct feedback lies in the row space that theorem 2 asks for, from 0
  to 1, as the mean over the samples; under deep feedback control also that of weights at `random`.
* `feedback_angle`: between the feedback weights of a mirror and the weights that they stand for, in
  degrees.
* `feedback_movement`: ‖Q − Q₀‖ / ‖Q₀‖ of feedback weights since the run began, and of those to
  each layer.
* `angle_to_exact`: between the gradient of a rule with learned feedback and that of the control
  itself, in degrees: of the least control by the oracle, or, for deep feedback control, of ½‖Qu‖²
  at the rest point linearised where the control holds it.
* `angle_to_analytic`, `angle_to_minimum_norm`, `angle_to_gauss_newton`: between deep feedback
  control's gradient and its linearisation at the free rest point (of a nudge alone), the update by
  minimum-norm targets, and the Gauss–Newton step, the last two damped by 0.1; in degrees.
* `feedback_ratio`: of the voltage from feedback to that from below, without biases, in every layer
  under deep feedback control; under least control of ‖ψ‖ to ‖φ + f(φ)‖, what drives the same
  neurons otherwise.
* `error_ratio`: of the output's error under control to that without, ‖e_end‖ / ‖e_0‖.
* `margin`: of stability under control, the smallest over the samples (the first 4 where the
  dynamics are simulated or those of least control); negative where they are unstable. It is −Re λ
  of the controller for fast voltages at a rest point that was solved for, in units of its rate;
  that of the simulated step at the end of a simulation, likewise; and that of dynamic inversion at
  a controlled rest point of least control, in units of the neurons' rate.

A rule has those of them that mean something for it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import diagnostics
from ..controllers import (
    AbstractDirectPath,
    DirectFeedback,
    Exact,
    KolenPollack,
    LinearFeedback,
    Nudged,
)
from ..equilibrium import (
    ControlProblem,
    Point,
    Sample,
    Solution,
    free_equilibrium,
    free_moment,
    solved,
)
from ..feedback_control import (
    AbstractPhase,
    AnalyticSteadyState,
    Continuous,
    Controlled,
    DeepFeedbackControl,
    SimulatedSteadyState,
    SteadyState,
    Task,
)
from ..rules import (
    AbstractRule,
    AbstractUnsolved,
    Backpropagation,
    Batch,
    Credit,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    LeastControl,
    RecurrentBackpropagation,
)
from ..systems import AbstractOrderedSystem, AbstractSystem, Feedforward
from ..training import Diagnostics
from .stability import WATCHED, innermost, simulated_margins

Diagnosis = Callable[[AbstractSystem, PyTree[Any]], Diagnostics]


def diagnosis(rule: AbstractRule, batch: Batch, seed: int, first: PyTree[Any] = None) -> Diagnosis:
    """Returns the measurement of a system and its feedback weights under a rule, on a batch.

    **Arguments:** `rule`, without what is around it; `batch`; `seed`, of the rule's noise, which is
    the same at every measurement; `first`, the feedback weights that the run began with.
    """
    own = innermost(rule)
    key = jax.random.key(seed)

    @eqx.filter_jit
    def measure(system: AbstractSystem, feedback: PyTree[Any], batch: Batch) -> Any:
        credit = own(system, feedback, batch, key=key)
        figures = {
            "angle_to_loss": _angles(own, system, credit, batch),
            "control": _control(credit),
            "condition": _condition(own, system, feedback, batch),
            "feedback_angle": _feedback_angle(own, system, feedback),
            "feedback_movement": _movement(first, feedback),
            "angle_to_exact": _angle_to_least_control(own, system, credit, batch),
        }
        held = None
        if isinstance(own, DeepFeedbackControl):
            task = own.task(system, feedback, batch)
            figures |= _feedback_control(own, task, credit, batch)
            held = _held(own, task, credit)
        if isinstance(own, LeastControl):
            problem = ControlProblem(system, own.loss, own.output_control.leak)
            figures |= _least_control(problem, credit, batch)
            if not isinstance(own.controller, KolenPollack | LinearFeedback):
                # The others have dynamics of their own.
                held = _inverted(problem, credit, batch)
        return {name: places for name, places in figures.items() if places}, held

    def diagnose(system: AbstractSystem, feedback: PyTree[Any]) -> Diagnostics:
        figures, held = measure(system, feedback, batch)
        if held is not None:
            # Not inside the compiled part: the matrices have no symmetry, and their eigenvalues are
            # NumPy's and SciPy's.
            margins, *arguments = held
            figures["margin"] = {"all": margins(*arguments).min()}
        return jax.tree.map(float, figures)

    return diagnose


Places = dict[str, Float[Array, ""]]
# Of the updates that deep feedback control's is compared with, as in its paper's figure 3.
DAMPING = 0.1


def _angles(rule: AbstractRule, system: AbstractSystem, credit: Credit, batch: Batch) -> Places:
    if isinstance(rule, Backpropagation | RecurrentBackpropagation):
        return {}
    ordered = isinstance(system, AbstractOrderedSystem)
    exact = Backpropagation(rule.loss) if ordered else RecurrentBackpropagation(loss=rule.loss)
    loss = exact(system, None, batch).gradient
    ours, theirs = parts(credit.gradient), parts(loss)
    places = {name: diagnostics.angle(part, theirs[name]) for name, part in ours.items()}
    return {"all": diagnostics.angle(ours, theirs), **places}


def parts(gradient: Any) -> dict[str, PyTree[Array]]:
    """Returns a system's gradient by the fields of the system, those of a list one by one."""
    found = {}
    for field in dataclasses.fields(gradient):
        own = getattr(gradient, field.name)
        if isinstance(own, tuple):
            name = field.name.removesuffix("s")
            found |= {f"{name} {number}": part for number, part in enumerate(own, 1)}
        else:
            found[field.name] = own
    arrays = {name: eqx.filter(part, eqx.is_inexact_array) for name, part in found.items()}
    return {name: part for name, part in arrays.items() if jax.tree.leaves(part)}


def _control(credit: Credit) -> Places:
    value = credit.solution.value
    if isinstance(value, Point):
        return by_place(value.control, value.output_control, _size)
    if isinstance(value, Controlled):
        *hidden, output = value.moment.apical
        return by_place(tuple(hidden), output, _size)
    return {}


def by_place(
    states: PyTree[Array], output: Array, measure: Callable[[Array], Any]
) -> dict[str, Any]:
    """Returns what is measured of each array that is like a state, and of one like the output."""
    leaves = jax.tree.leaves(states)
    names = [f"layer {number}" for number in range(1, len(leaves) + 1)]
    names = names if len(leaves) > 1 else ["state"]
    places = {name: measure(leaf) for name, leaf in zip(names, leaves, strict=True)}
    return {**places, "output": measure(output)}


def _size(control: Array) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(control**2))


def _condition(
    rule: AbstractRule, system: AbstractSystem, feedback: PyTree[Any], batch: Batch
) -> Places:
    drives = jax.vmap(system.drive)(batch.inputs)
    direct = isinstance(rule, LeastControl) and isinstance(rule.controller, LinearFeedback)
    if direct or isinstance(rule, DirectFeedbackAlignment):
        states = free_equilibrium(system, drives).value
        own = diagnostics.column_space_condition(system, drives, states, feedback)
    elif isinstance(rule, DeepFeedbackControl) and isinstance(rule.path, AbstractDirectPath):
        assert isinstance(system, Feedforward)
        soma = jax.vmap(lambda drive: free_moment(system, drive))(drives).soma
        own = diagnostics.feedback_condition(system, feedback, soma)
        random = DirectFeedback().init(system, key=jax.random.key(0))
        chance = diagnostics.feedback_condition(system, random, soma)
        return {"all": jnp.mean(own), "random": jnp.mean(chance)}
    else:
        return {}
    return {"all": jnp.mean(own)}


def _feedback_angle(rule: AbstractRule, system: AbstractSystem, feedback: PyTree[Any]) -> Places:
    mirrored = isinstance(rule, LeastControl) and isinstance(rule.controller, KolenPollack)
    if not mirrored and not isinstance(rule, FeedbackAlignment):
        return {}
    own = eqx.filter(system, system.feedback_parameters())
    return {"all": diagnostics.angle(feedback, own)}


def _movement(first: PyTree[Any], feedback: PyTree[Any]) -> Places:
    if first is None or feedback is None:
        return {}
    before, now = (eqx.filter(own, eqx.is_inexact_array) for own in (first, feedback))

    def movement(before: PyTree[Array], now: PyTree[Array]) -> Float[Array, ""]:
        (start, _), (end, _) = ravel_pytree(before), ravel_pytree(now)
        return jnp.linalg.norm(end - start) / jnp.linalg.norm(start)

    places = {}
    if isinstance(now, tuple):
        places = _by_layer([movement(*own) for own in zip(before, now, strict=True)])
    return {"all": movement(before, now), **places}


class _SamplesOf(AbstractUnsolved):
    """The samples that another solution counted."""

    counted: Float[Array, " batch"]

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        return self.counted


def _angle_to_least_control(
    rule: AbstractRule, system: AbstractSystem, credit: Credit, batch: Batch
) -> Places:
    if not isinstance(rule, LeastControl):
        return {}
    # Every other controller ends where the oracle does.
    if not isinstance(rule.controller, KolenPollack | LinearFeedback):
        return {}
    same = _SamplesOf(rule.unsolved.weights(credit.solution))
    oracle = LeastControl(Exact(), rule.output_control, loss=rule.loss, unsolved=same)
    exact = parts(oracle(system, None, batch).gradient)
    ours = parts(credit.gradient)
    places = {name: diagnostics.angle(part, exact[name]) for name, part in ours.items()}
    return {"all": diagnostics.angle(ours, exact), **places}


def _feedback_control(
    rule: DeepFeedbackControl, task: Task, credit: Credit, batch: Batch
) -> dict[str, Places]:
    """Returns what is known of deep feedback control alone, by name."""
    network, value = task.network, credit.solution.value
    moment, errors = value.moment, value.first_error
    gradient = _updates(credit.gradient)
    biases = tuple(layer.bias for layer in network.layers)
    about = network, batch.inputs
    free = task.free.soma
    figures = {
        "angle_to_minimum_norm": _layer_angles(
            gradient, diagnostics.minimum_norm_update(*about, free, errors, DAMPING)
        ),
        "angle_to_gauss_newton": _layer_angles(
            gradient, diagnostics.gauss_newton_update(*about, free, errors, DAMPING)
        ),
        "feedback_ratio": _by_layer(
            diagnostics.feedback_ratios(moment.basal, moment.apical, biases)
        ),
        "error_ratio": {"all": diagnostics.error_ratio(errors, value.last_error)},
    }
    if isinstance(rule.teaching, Nudged):
        analytic = dataclasses.replace(
            rule, phase=AnalyticSteadyState(_leak(rule.phase)), feedback_learning=None
        )
        linearised = _updates(analytic.credit(task, batch, None).gradient)
        figures["angle_to_analytic"] = _layer_angles(gradient, linearised)
    if rule.path.learns:
        exact = diagnostics.linearised_control_gradient(
            *about, moment.soma, task.weights, _leak(rule.phase), moment.control
        )
        figures["angle_to_exact"] = _layer_angles(gradient, exact)
    return figures


def _held(rule: DeepFeedbackControl, task: Task, credit: Credit) -> Any:
    """Returns what measures the margin of the controlled dynamics and with what, if it can be."""
    moment, phase = credit.solution.value.moment, rule.phase
    if isinstance(phase, Continuous | SimulatedSteadyState):
        few = lambda leaf: leaf[:WATCHED]  # noqa: E731
        own = jax.tree.map(few, (task.inputs, task.drives, task.free, task.references))
        task = eqx.tree_at(lambda t: (t.inputs, t.drives, t.free, t.references), task, own)
        return simulated_margins, task, phase.dynamics, jax.tree.map(few, moment)
    if not rule.path.learns:
        return None
    soma = moment.soma
    curvature = jax.vmap(
        lambda output, reference: rule.teaching.curvature(rule.loss, output, reference)
    )(soma[-1], task.references)
    measure = diagnostics.quasi_static_margin
    return measure, task.network, soma, task.weights, _leak(phase), curvature


def _least_control(problem: ControlProblem, credit: Credit, batch: Batch) -> dict[str, Places]:
    """Returns how strong the control is, and what it leaves, over the samples that were solved."""
    system, point = problem.system, credit.solution.value
    found = solved(credit.solution)
    drives = jax.vmap(system.drive)(batch.inputs)
    free = jax.vmap(system.readout)(free_equilibrium(system, drives).value)
    read = jax.vmap(system.readout)(point.state)
    held = read + problem.own_gain * point.output_control
    field = jax.vmap(system.vector_field)(point.state, drives)
    below = jax.tree.map(jnp.add, point.state, field)

    def ratios(control: Array, other: Array) -> Array:
        sizes = [jnp.linalg.norm(own.reshape(len(own), -1), axis=1) for own in (control, other)]
        return sizes[0] / sizes[1]

    def mean(own: Array) -> Array:
        return jnp.mean(own, where=found)

    each = jax.tree.map(ratios, point.control, below)
    pull = jax.vmap(problem.loss.gradient)
    errors = [jnp.where(found[:, None], pull(output, batch.targets), 0) for output in (free, held)]
    return {
        "feedback_ratio": by_place(each, ratios(point.output_control, read), mean),
        "error_ratio": {"all": diagnostics.error_ratio(*errors)},
    }


def _inverted(problem: ControlProblem, credit: Credit, batch: Batch) -> Any:
    """Returns what measures the margin of dynamic inversion, and with what."""
    samples = Sample(jax.vmap(problem.system.drive)(batch.inputs), batch.targets)
    few = jax.tree.map(lambda leaf: leaf[:WATCHED], (samples, credit.solution.value))
    return diagnostics.controlled_margin, problem, *few


def _leak(phase: AbstractPhase) -> float:
    if isinstance(phase, SteadyState | AnalyticSteadyState):
        return phase.leak
    assert isinstance(phase, Continuous | SimulatedSteadyState)
    return phase.dynamics.leak


def _updates(gradient: Any) -> tuple[tuple[Array, Array], ...]:
    return tuple((layer.weight, layer.bias) for layer in gradient.layers)


def _layer_angles(first: tuple[Any, ...], second: tuple[Any, ...]) -> Places:
    *own, everything = diagnostics.layer_angles(first, second)
    return {"all": everything, **_by_layer(own)}


def _by_layer(values: Sequence[Float[Array, ""]]) -> Places:
    return {f"layer {number}": value for number, value in enumerate(values, 1)}
