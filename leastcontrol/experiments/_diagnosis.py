"""What a run measures of its own learning, beside its figures, on the same few samples every time.

The figures have names, and numbers by the part of the system that they are of; `all` is the whole.

* `angle_to_loss`: between the rule's gradient and that of the loss at the free equilibrium, in
  degrees, for each part of the system that has parameters.
* `control`: the root mean square of the control over the neurons of a part and over the samples, in
  units of the state; `output` is the output control.
* `condition`: how much of direct feedback lies in the row space that theorem 2 asks for, from 0
  to 1, as the mean over the samples.
* `feedback_angle`: between the feedback weights of a mirror and the weights that they stand for, in
  degrees.

A rule has those of them that mean something for it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import diagnostics
from ..controllers import KolenPollack, LinearFeedback
from ..controllers._direct_feedback import AbstractDirectPath
from ..equilibrium import Point, free_equilibrium, free_moment
from ..rules import (
    AbstractRule,
    Backpropagation,
    Batch,
    Controlled,
    Credit,
    DeepFeedbackControl,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    JacobianPenalty,
    LeastControl,
    RecurrentBackpropagation,
)
from ..systems import AbstractOrderedSystem, AbstractSystem, Feedforward
from ..training import Diagnostics

Diagnosis = Callable[[AbstractSystem, PyTree[Any]], Diagnostics]


def diagnosis(rule: AbstractRule, batch: Batch, seed: int) -> Diagnosis:
    """Returns the measurement of a system and its feedback weights under a rule, on a batch.

    **Arguments:** `rule`, whose penalty is left out; `batch`; `seed`, of the rule's noise, which is
    the same at every measurement.
    """
    own = rule.rule if isinstance(rule, JacobianPenalty) else rule
    key = jax.random.key(seed)

    @eqx.filter_jit
    def measure(system: AbstractSystem, feedback: PyTree[Any], batch: Batch) -> Any:
        credit = own(system, feedback, batch, key=key)
        figures = {
            "angle_to_loss": _angles(own, system, credit, batch),
            "control": _control(credit),
            "condition": _condition(own, system, feedback, batch),
            "feedback_angle": _feedback_angle(own, system, feedback),
        }
        return {name: places for name, places in figures.items() if places}

    def diagnose(system: AbstractSystem, feedback: PyTree[Any]) -> Diagnostics:
        return jax.tree.map(float, measure(system, feedback, batch))

    return diagnose


Places = dict[str, Float[Array, ""]]


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
    else:
        return {}
    return {"all": jnp.mean(own)}


def _feedback_angle(rule: AbstractRule, system: AbstractSystem, feedback: PyTree[Any]) -> Places:
    mirrored = isinstance(rule, LeastControl) and isinstance(rule.controller, KolenPollack)
    if not mirrored and not isinstance(rule, FeedbackAlignment):
        return {}
    own = eqx.filter(system, system.feedback_parameters())
    return {"all": diagnostics.angle(feedback, own)}
