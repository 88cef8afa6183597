"""Measurements of a run's updates, control and feedback, always on the same few samples.

Each figure has a name and one number for each part of the system; `all` is the whole system.

* `angle_to_loss`: the angle between the rule's gradient and that of the loss at the free
  equilibrium, in degrees, for each part of the system that has parameters.
* `control`: the root mean square of the control over the neurons of a part and over the samples, in
  units of the state; `output` is the output control.
* `condition`: the share of direct feedback that lies in the row space of theorem 2, from 0 to 1,
  averaged over the samples. Deep feedback control adds that of newly drawn weights, `random`.
* `feedback_angle`: the angle between the feedback weights of a mirror and the weights that they
  correspond to, in degrees.
* `feedback_movement`: ‖Q − Q₀‖ / ‖Q₀‖, the change of the feedback weights since the run began, for
  all of them and for those to each layer.
* `angle_to_exact`: the angle between the gradient of a rule with learned feedback and that of the
  control, in degrees. For least control the latter is the gradient with exact control; for deep
  feedback control that of ½‖Qu‖² at the controlled equilibrium, with the network linearised there.
* `angle_to_analytic`, `angle_to_minimum_norm`, `angle_to_gauss_newton`: the angles between the
  gradient of deep feedback control and three others, in degrees: that of the network linearised at
  the free equilibrium (only for a nudge), the update by minimum-norm targets, and the Gauss–Newton
  step. The last two are damped by 0.1.
* `feedback_ratio`: for deep feedback control, the ratio of the apical voltage to the basal one
  without biases, in each layer; for least control, ‖ψ‖ to ‖φ + f(φ)‖, the drive of the same neurons
  without control.
* `error_ratio`: the ratio of the output's error with control to that without, ‖e_end‖ / ‖e_0‖.
* `gain`: for least control, the gain of the output along the slope of the loss, eᵀKe / eᵀe with
  K = (∂y/∂ψ)(∂y/∂ψ)ᵀ + γI, the mean over the samples.
* `gain_share`: for least control, ‖g − g_e‖ / ‖g‖ for each part that has parameters. g is the
  rule's gradient in units of the loss; g_e is the slope at the controlled output, ∇_yL = −αu, sent
  back through the free system, and lowers the error. What is left raises the gain.
* `margin`: the stability margin under control, the smallest over the samples (the first 4 for
  simulated dynamics and for least control); negative where the dynamics are unstable. At a computed
  equilibrium of deep feedback control it is −Re λ of the controller for fast voltages, in units of
  the controller's rate; at the end of a simulation that of the simulated step, in the same units;
  at a controlled equilibrium of least control that of dynamic inversion, in units of the neurons'
  rate.

A rule has those figures that its `aspects` provide for.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import diagnostics
from ..controllers import DirectFeedback
from ..equilibrium import (
    AbstractControlPath,
    ControlProblem,
    FixedPoint,
    Sample,
    free_equilibrium,
    free_gain,
    free_moment,
    solved,
)
from ..feedback_control import DeepFeedbackControl, Task
from ..losses import FunctionLoss
from ..rules import (
    AbstractRule,
    Aspects,
    Batch,
    Control,
    Credit,
    backpropagation_through,
)
from ..rules._rule import per_sample
from ..rules._strength import with_kappa
from ..systems import AbstractSystem
from ..training import Diagnostics
from .stability import WATCHED, simulated_margins

# Of a system, its feedback weights, and the relative leak κ of the rule, if a share is asked for.
Diagnosis = Callable[[AbstractSystem, PyTree[Any], Float[Array, ""] | None], Diagnostics]


def diagnosis(rule: AbstractRule, batch: Batch, seed: int, first: PyTree[Any] = None) -> Diagnosis:
    """Builds the function that measures a system and its feedback weights on a batch.

    **Arguments:**

    * `rule`: is measured without rules around it.
    * `batch`: the samples.
    * `seed`: of the rule's noise, which is the same in every measurement.
    * `first`: the feedback weights at the start of the run.
    """
    key = jax.random.key(seed)

    @eqx.filter_jit
    def measure(
        system: AbstractSystem, feedback: PyTree[Any], batch: Batch, kappa: Array | None
    ) -> Any:
        aspects = (rule if kappa is None else with_kappa(rule, kappa)).aspects
        credit = aspects.rule(system, feedback, batch, key=key)
        path = None if aspects.path is None else aspects.path(system, feedback)
        figures = {
            "angle_to_loss": _angles_to_loss(aspects, system, credit, batch),
            "control": _control(aspects, credit),
            "feedback_movement": _movement(first, feedback),
        }
        arguments_of_margin = None
        if path is not None:
            figures |= _feedback_path(path, system, batch)
        if aspects.control is not None and aspects.control.descended:
            problem = aspects.control.problem(system)
            samples = aspects.control.ask(problem, batch).samples
            figures |= _least_control(problem, credit, batch)
            if path is None and not aspects.control.output_control.unlimited:
                figures |= _gain(aspects.control, problem, samples, credit, batch)
            if path is None:
                arguments_of_margin = _margin_of_inversion(problem, samples, credit)
            else:
                figures["angle_to_exact"] = _angles_to_exact(aspects, system, credit, batch)
        if aspects.feedback_control is not None:
            task = aspects.feedback_control.task(system, feedback, batch)
            figures |= _feedback_control(aspects.feedback_control, task, credit, batch)
            arguments_of_margin = _margin_of_feedback_control(
                aspects.feedback_control, task, credit
            )
        return {name: places for name, places in figures.items() if places}, arguments_of_margin

    def diagnose(
        system: AbstractSystem, feedback: PyTree[Any], kappa: Float[Array, ""] | None = None
    ) -> Diagnostics:
        figures, arguments_of_margin = measure(system, feedback, batch, kappa)
        if arguments_of_margin is not None:
            # Not inside the compiled part: NumPy and SciPy compute the eigenvalues, because the
            # matrices have no symmetry.
            margins, *arguments = arguments_of_margin
            figures["margin"] = {"all": margins(*arguments).min()}
        return jax.tree.map(float, figures)

    return diagnose


Places = dict[str, Float[Array, ""]]
# Damping of the updates that deep feedback control is compared with, as in its paper's figure 3.
DAMPING = 0.1


def _angles_to_loss(
    aspects: Aspects, system: AbstractSystem, credit: Credit, batch: Batch
) -> Places:
    if aspects.descends_loss:
        return {}
    exact = backpropagation_through(system, aspects.rule.loss)
    return _part_angles(credit.gradient, exact(system, None, batch).gradient)


def _part_angles(first: PyTree[Array], second: PyTree[Array]) -> Places:
    first_parts, second_parts = parts(first), parts(second)
    places = {
        name: diagnostics.angle(part, second_parts[name]) for name, part in first_parts.items()
    }
    return {"all": diagnostics.angle(first_parts, second_parts), **places}


def parts(gradient: Any) -> dict[str, PyTree[Array]]:
    """Splits a system's gradient by the fields of the system, and lists of layers by layer."""
    named = {}
    for field in dataclasses.fields(gradient):
        value = getattr(gradient, field.name)
        if isinstance(value, tuple):
            name = field.name.removesuffix("s")
            named |= {f"{name} {number}": part for number, part in enumerate(value, 1)}
        else:
            named[field.name] = value
    arrays = {name: eqx.filter(part, eqx.is_inexact_array) for name, part in named.items()}
    return {name: part for name, part in arrays.items() if jax.tree.leaves(part)}


def _control(aspects: Aspects, credit: Credit) -> Places:
    value = credit.solution.value
    if aspects.control is not None:
        return by_place(value.control, value.output_control, _root_mean_square)
    if aspects.feedback_control is not None:
        *hidden, output = value.moment.apical
        return by_place(tuple(hidden), output, _root_mean_square)
    return {}


def by_place(
    states: PyTree[Array], output: Array, measure: Callable[[Array], Any]
) -> dict[str, Any]:
    """Measures each array of a pytree like the state and one array like the output, by name."""
    leaves = jax.tree.leaves(states)
    names = [f"layer {number}" for number in range(1, len(leaves) + 1)]
    names = names if len(leaves) > 1 else ["state"]
    places = {name: measure(leaf) for name, leaf in zip(names, leaves, strict=True)}
    return {**places, "output": measure(output)}


def _root_mean_square(control: Array) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(control**2))


def _feedback_path(
    path: AbstractControlPath, system: AbstractSystem, batch: Batch
) -> dict[str, Places]:
    """Measures how well the feedback weights of a path fit the system, by figure."""
    figures = {}
    if path.direct_weights is not None:
        drives = jax.vmap(system.drive)(batch.inputs)
        states = free_equilibrium(system, drives, solver=FixedPoint.mixed_later()).value
        shares = diagnostics.column_space_condition(system, drives, states, path.direct_weights)
        figures["condition"] = {"all": jnp.mean(shares)}
    if path.mirror_weights is not None:
        mirrored = eqx.filter(system, system.feedback_parameters())
        figures["feedback_angle"] = {"all": diagnostics.angle(path.mirror_weights, mirrored)}
    return figures


def _movement(first: PyTree[Any], feedback: PyTree[Any]) -> Places:
    if first is None or feedback is None:
        return {}
    before, now = (eqx.filter(weights, eqx.is_inexact_array) for weights in (first, feedback))

    def movement(before: PyTree[Array], now: PyTree[Array]) -> Float[Array, ""]:
        (start, _), (end, _) = ravel_pytree(before), ravel_pytree(now)
        return jnp.linalg.norm(end - start) / jnp.linalg.norm(start)

    places = {}
    if isinstance(now, tuple):
        places = _by_layer([movement(*layer) for layer in zip(before, now, strict=True)])
    return {"all": movement(before, now), **places}


def _angles_to_exact(
    aspects: Aspects, system: AbstractSystem, credit: Credit, batch: Batch
) -> Places:
    if aspects.with_exact_control is None:
        return {}
    exact = aspects.with_exact_control(credit.solution)
    return _part_angles(credit.gradient, exact(system, None, batch).gradient)


def _feedback_control(
    rule: DeepFeedbackControl, task: Task, credit: Credit, batch: Batch
) -> dict[str, Places]:
    """Measures the figures that only deep feedback control has, by name."""
    network, value = task.network, credit.solution.value
    moment, errors = value.moment, value.first_error
    gradient = _updates(credit.gradient)
    biases = tuple(layer.bias for layer in network.layers)
    network_and_inputs = network, batch.inputs
    free = task.free.soma
    figures = {
        "angle_to_minimum_norm": _layer_angles(
            gradient, diagnostics.minimum_norm_update(*network_and_inputs, free, errors, DAMPING)
        ),
        "angle_to_gauss_newton": _layer_angles(
            gradient, diagnostics.gauss_newton_update(*network_and_inputs, free, errors, DAMPING)
        ),
        "feedback_ratio": _by_layer(
            diagnostics.feedback_ratios(moment.basal, moment.apical, biases)
        ),
        "error_ratio": {"all": diagnostics.error_ratio(errors, value.last_error)},
    }
    if rule.linearised is not None:
        linearised = _updates(rule.linearised.credit(task, batch, None).gradient)
        figures["angle_to_analytic"] = _layer_angles(gradient, linearised)
    if rule.path.learns:
        exact = diagnostics.linearised_control_gradient(
            *network_and_inputs, moment.soma, task.weights, rule.phase.output_leak, moment.control
        )
        figures["angle_to_exact"] = _layer_angles(gradient, exact)
        figures["condition"] = _layer_condition(task, batch)
    return figures


def _layer_condition(task: Task, batch: Batch) -> Places:
    """Measures the condition of the feedback weights to every layer, and of newly drawn ones."""
    network = task.network
    drives = jax.vmap(network.drive)(batch.inputs)
    soma = jax.vmap(lambda drive: free_moment(network, drive))(drives).soma
    drawn = DirectFeedback().init(network, key=jax.random.key(0))
    weights = {"all": task.weights, "random": drawn}
    return {
        name: jnp.mean(diagnostics.feedback_condition(network, matrices, soma))
        for name, matrices in weights.items()
    }


def _margin_of_feedback_control(rule: DeepFeedbackControl, task: Task, credit: Credit) -> Any:
    """Returns the function that computes the margins under control, and its arguments.

    Returns `None` if the feedback has no weights and nothing is simulated.
    """
    moment, phase = credit.solution.value.moment, rule.phase
    if phase.simulated is not None:
        few = lambda leaf: leaf[:WATCHED]  # noqa: E731
        first = jax.tree.map(few, (task.inputs, task.drives, task.free, task.references))
        task = eqx.tree_at(lambda t: (t.inputs, t.drives, t.free, t.references), task, first)
        return simulated_margins, task, phase.simulated, jax.tree.map(few, moment)
    if not rule.path.learns:
        return None
    soma = moment.soma

    def curvature_of(output: Array, reference: PyTree[Array]) -> Array:
        product = partial(rule.teaching.curvature_product, rule.loss, output, reference)
        return jax.vmap(product, out_axes=1)(jnp.eye(output.size, dtype=output.dtype))

    curvature = jax.vmap(curvature_of)(soma[-1], task.references)
    measure = diagnostics.quasi_static_margin
    return measure, task.network, soma, task.weights, phase.output_leak, curvature


def _least_control(problem: ControlProblem, credit: Credit, batch: Batch) -> dict[str, Places]:
    """Measures the strength of the control and the remaining error, over the solved samples."""
    system, point = problem.system, credit.solution.value
    is_solved = solved(credit.solution)
    drives = jax.vmap(system.drive)(batch.inputs)
    states = free_equilibrium(system, drives, solver=FixedPoint.mixed_later()).value
    free = jax.vmap(system.readout)(states)
    read = jax.vmap(system.readout)(point.state)
    controlled = read + problem.own_gain * point.output_control
    field = jax.vmap(system.vector_field)(point.state, drives)
    uncontrolled = jax.tree.map(jnp.add, point.state, field)

    def ratios(control: Array, other: Array) -> Array:
        sizes = [
            jnp.linalg.norm(values.reshape(len(values), -1), axis=1) for values in (control, other)
        ]
        return sizes[0] / sizes[1]

    def mean(values: Array) -> Array:
        return jnp.mean(values, where=is_solved)

    state_ratios = jax.tree.map(ratios, point.control, uncontrolled)
    gradient = jax.vmap(problem.loss.gradient)
    errors = [
        jnp.where(is_solved[:, None], gradient(output, batch.targets), 0)
        for output in (free, controlled)
    ]
    return {
        "feedback_ratio": by_place(state_ratios, ratios(point.output_control, read), mean),
        "error_ratio": {"all": diagnostics.error_ratio(*errors)},
    }


def _gain(
    control: Control, problem: ControlProblem, samples: Sample, credit: Credit, batch: Batch
) -> dict[str, Places]:
    """Measures the gain, and the share of the gradient that does not lower the error."""
    is_solved = solved(credit.solution)
    leaks = jax.vmap(lambda sample: jnp.asarray(problem.leak_of(sample)))(samples)
    slopes = -per_sample(leaks, credit.solution.value.output_control) * jnp.where(
        is_solved[:, None], credit.solution.value.output_control, 0
    )
    work = FunctionLoss(lambda output, slope: jnp.sum(output * slope))
    lowering = backpropagation_through(problem.system, work)(
        problem.system, None, Batch(batch.inputs, slopes)
    )
    # Samples that were not solved are no part of the rule's mean.
    share = is_solved.shape[0] / jnp.maximum(credit.count, 1)
    scale = 1.0 if control.output_control.in_loss_units else leaks[0]
    whole, lowered = (
        {name: jax.tree.map(lambda leaf, by=by: by * leaf, part) for name, part in of.items()}
        for of, by in ((parts(credit.gradient), scale), (parts(lowering.gradient), share))
    )

    def share_of(whole: PyTree[Array], lowered: PyTree[Array]) -> Float[Array, ""]:
        (total, _), (error, _) = ravel_pytree(whole), ravel_pytree(lowered)
        return jnp.linalg.norm(total - error) / jnp.linalg.norm(total)

    places = {name: share_of(part, lowered[name]) for name, part in whole.items()}
    gains = free_gain(problem, samples).gain
    return {
        "gain": {"all": jnp.mean(gains)},
        "gain_share": {"all": share_of(whole, lowered), **places},
    }


def _margin_of_inversion(problem: ControlProblem, samples: Sample, credit: Credit) -> Any:
    """Returns the function that computes the margins of dynamic inversion, and its arguments."""
    few = jax.tree.map(lambda leaf: leaf[:WATCHED], (samples, credit.solution.value))
    return diagnostics.controlled_margin, problem, *few


def _updates(gradient: Any) -> tuple[tuple[Array, Array], ...]:
    return tuple((layer.weight, layer.bias) for layer in gradient.layers)


def _layer_angles(first: tuple[Any, ...], second: tuple[Any, ...]) -> Places:
    *layers, whole = diagnostics.layer_angles(first, second)
    return {"all": whole, **_by_layer(layers)}


def _by_layer(values: Sequence[Float[Array, ""]]) -> Places:
    return {f"layer {number}": value for number, value in enumerate(values, 1)}
