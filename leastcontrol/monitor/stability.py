"""Whether the dynamics that a rule simulates are stable enough to be learned from.

Feedback weights that are random, or have learned, may drive the output away from its target, and a
time step may be too coarse for a strong controller; then a simulation runs away, and what is summed
over it is no update. So a training looks at the margin of the simulated steps before every epoch.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, PyTree

from .. import diagnostics, training
from ..controllers import AbstractTeaching
from ..equilibrium import Dynamics, Moment
from ..feedback_control import Continuous, DeepFeedbackControl, SimulatedSteadyState, Task, TwoPhase
from ..rules import AbstractRule, AbstractRuleAround, Batch
from ..systems import AbstractSystem, Feedforward

Watch = Callable[[AbstractSystem, PyTree[Any]], None]
# Validation samples that it is watched on.
WATCHED = 4


def innermost(rule: AbstractRule) -> AbstractRule:
    """Returns a rule without those around it: what credits the samples themselves."""
    while isinstance(rule, AbstractRuleAround):
        rule = rule.rule
    return rule


def stability_watch(rule: AbstractRule, batch: Batch) -> Watch | None:
    """Returns what raises `training.UnfitError` where simulated dynamics are unstable.

    That is where a deviation would grow e-fold within the simulated time, by the step linearised at
    the free rest point of a sample of `batch`. `None` for a rule that does not
    simulate.
    """
    own = innermost(rule)
    if not isinstance(own, DeepFeedbackControl):
        return None
    simulated: list[tuple[str, Dynamics, AbstractTeaching]] = []
    if isinstance(own.phase, Continuous | SimulatedSteadyState):
        simulated.append(("controlled", own.phase.dynamics, own.teaching))
    learning = own.feedback_learning
    if isinstance(learning, TwoPhase):
        simulated.append(("feedback learning's", learning.dynamics, learning.teaching))
    if not simulated:
        return None

    @eqx.filter_jit
    def task_of(system: Feedforward, feedback: PyTree[Any], teaching: AbstractTeaching) -> Task:
        return Task.of(system, own.path, feedback, teaching, own.loss, batch)

    def watch(system: AbstractSystem, feedback: PyTree[Any]) -> None:
        # What is no feedforward network the rule refuses by itself.
        assert isinstance(system, Feedforward)
        for name, dynamics, teaching in simulated:
            task = task_of(system, feedback, teaching)
            margins = simulated_margins(task, dynamics, task.free)
            time = dynamics.time_step * (dynamics.points - 1)
            # One that was not found is not held against the dynamics.
            unstable = margins * time < -1
            if unstable.any():
                raise training.UnfitError(_sentence(name, margins, unstable, dynamics))

    return watch


def simulated_margins(task: Task, dynamics: Dynamics, moments: Moment) -> np.ndarray:
    """Returns the margin of the simulated step of each sample, at its moment."""
    return diagnostics.simulated_margin(
        task.network,
        dynamics,
        task.drives,
        (task.free.soma[-1], task.references),
        moments,
        error=eqx.Partial(_error, task),
        feedback=eqx.Partial(_feedback, task),
    )


def _error(task: Task, output: Array, own: tuple[Array, PyTree]) -> Array:
    return task.error(own[0], output - own[0], own[1])


def _feedback(task: Task, soma: tuple[Array, ...], control: Array) -> tuple[Array, ...]:
    return task.path.drive(task.network, task.weights, soma, control)


def _sentence(name: str, margins: np.ndarray, unstable: np.ndarray, dynamics: Dynamics) -> str:
    least = -1 / (dynamics.time_step * (dynamics.points - 1))
    return (
        f"the {name} dynamics are unstable at {unstable.sum()} of {len(margins)} samples, where "
        f"their stability margin is {np.nanmin(margins):.3g} in units of the controller's rate and "
        f"must not be below {least:.3g}, for a deviation grows e-fold within the simulated time: "
        "write a smaller --proportional-gain or --time-step, a larger --controller-leak, or "
        "--feedback weight-product."
    )
