"""Checks that the dynamics which a rule simulates are stable enough to learn from.

Feedback weights that are random or have learned may drive the output away from its target, and a
time step may be too long for a strong controller. Then the simulation diverges, and the sums over
it are no updates. Training therefore checks the margin of the simulated step before each epoch.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, PyTree

from .. import diagnostics, training
from ..controllers import AbstractTeaching
from ..equilibrium import Dynamics, Moment
from ..feedback_control import Task
from ..rules import AbstractRule, Batch
from ..systems import AbstractSystem

Watch = Callable[[AbstractSystem, PyTree[Any]], None]
# Number of validation samples whose margins are checked.
WATCHED = 4


def stability_watch(rule: AbstractRule, batch: Batch) -> Watch | None:
    """Builds a function that raises `training.UnfitError` if simulated dynamics are unstable.

    They are unstable if a deviation would grow e-fold within the simulated time. The step is
    linearised at the free equilibrium of each sample of `batch`. Returns `None` for a rule that
    does not simulate.
    """
    controlled = rule.aspects.feedback_control
    if controlled is None or not controlled.simulations:
        return None

    @eqx.filter_jit
    def task_under(
        teaching: AbstractTeaching, system: AbstractSystem, feedback: PyTree[Any]
    ) -> Task:
        return controlled.task_under(teaching, system, feedback, batch)

    def watch(system: AbstractSystem, feedback: PyTree[Any]) -> None:
        for name, dynamics, teaching in controlled.simulations:
            task = task_under(teaching, system, feedback)
            margins = simulated_margins(task, dynamics, task.free)
            time = dynamics.time_step * (dynamics.points - 1)
            # A margin that could not be computed is NaN, which is never below the bound.
            unstable = margins * time < -1
            if unstable.any():
                raise training.UnfitError(_sentence(name, margins, unstable, dynamics))

    return watch


def simulated_margins(task: Task, dynamics: Dynamics, moments: Moment) -> np.ndarray:
    """Computes the stability margin of the simulated step for each sample, at its moment."""
    return diagnostics.simulated_margin(
        task.network,
        dynamics,
        task.drives,
        (task.free.soma[-1], task.references),
        moments,
        error=eqx.Partial(_error, task),
        feedback=eqx.Partial(_feedback, task),
    )


def _error(task: Task, output: Array, sample: tuple[Array, PyTree]) -> Array:
    free, reference = sample
    return task.error(free, output - free, reference)


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
