"""One sample of a finished run on its way to the equilibrium, with and without control.

The result is written to `sample.json` in the run's folder, and a report draws it from there. It
contains the trajectories in continuous time, by `free_trajectory` and `controlled_trajectory`, and
the equilibrium that the rule's solver computes. Where the training asked for a share of the loss,
control is as strong as in its last step.

For deep feedback control, the control begins at the free equilibrium. The trajectory is that of the
dynamics which the phase simulates, with one draw of their noise; for a phase that computes where
the dynamics end, that of dynamics with the same end. A rule whose control is neither this nor that
of a control problem, or that has no control, is shown without control.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import training
from ..diagnostics import Trajectory, controlled_trajectory, free_trajectory
from ..equilibrium import (
    AbstractControlPath,
    Dynamics,
    InTurn,
    Moment,
    Point,
    free_equilibrium,
    solved,
)
from ..feedback_control import AbstractPhase, DeepFeedbackControl
from ..losses import AbstractLoss
from ..monitor.diagnosis import by_place
from ..rules import AbstractRule, Batch, Control
from ..rules._strength import with_kappa
from ..systems import AbstractSystem
from .folders import read_metrics
from .options import ConfigError
from .samples import load_splits
from .trained import load_trained, read_with_data

# In time constants of the neurons. The early times resolve the order in which layers respond.
TIMES = np.concatenate([[0.0], np.geomspace(0.05, 100.0, 100)])
# For phases that are not simulated: neurons ten times as fast as the controller, over a hundred
# time constants of the controller.
FAST_NEURONS = {"time_step": 0.02, "points": 5001, "voltage_time_constant": 0.1}


def inspect_sample(folder: Path, number: int, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Writes `sample.json` into a run's folder, and returns its content.

    **Arguments:**

    * `folder`: of a run with one seed, or of one seed of a run.
    * `number`: the index of the validation sample, from 0.
    * `data_dir`: the folder with the files of the data set, if they have moved since training.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`.
    """
    config = read_with_data(folder, data_dir)
    if config.data.regression:
        raise ConfigError(
            f"--sample shows how the probabilities of classes come about, and {folder} is of "
            f"{config.data.word}, which has none: leave it out, or give the folders of other runs."
        )
    splits = load_splits(config)
    rule = _last_strength(config.build_rule(), folder)
    samples = splits.validation
    if not 0 <= number < len(samples):
        raise ConfigError(
            f"--sample is {number}, but {config.data.word} has {len(samples)} validation samples: "
            f"write a number from 0 to {len(samples) - 1}."
        )
    seed = config.all_seeds()[0]
    system, feedback = load_trained(config, splits, folder, seed)
    target = samples.targets[number]
    shown = {
        "sample": number,
        "target": int(target),
        "pixels": _pixels(samples.inputs[number], samples.shape),
        **view(rule, system, feedback, jnp.asarray(samples.inputs[number]), jnp.asarray(target)),
    }
    training.RunFolder(folder).write_record("sample.json", shown)
    return shown


def _last_strength(rule: AbstractRule, folder: Path) -> AbstractRule:
    """Gives a rule the relative leak that its training ended with, if it asked for a share."""
    kappa = read_metrics(folder)[-1].get("kappa")
    return rule if kappa is None else with_kappa(rule, kappa)


def _pixels(inputs: np.ndarray, shape: tuple[int, ...]) -> list[list[float]] | None:
    """Scales the pixels of an image to the range from 0 to 1; `None` for any other input."""
    if len(shape) != 2:
        return None
    low, high = inputs.min(), inputs.max()
    return _rounded((inputs.reshape(shape) - low) / (high - low if high > low else 1))


def view(
    rule: AbstractRule, system: AbstractSystem, feedback: PyTree[Any], x: Array, target: Array
) -> dict[str, Any]:
    """Computes the trajectories of one sample by name, and their times.

    Times are in time constants of the neurons.
    """
    aspects = rule.aspects
    times, trajectories = jnp.asarray(TIMES, x.dtype), {}
    if aspects.feedback_control is not None:
        dynamics = _dynamics(aspects.feedback_control.phase)
        later = np.geomspace(1, dynamics.points - 1, 100).round().astype(int)
        steps = jnp.asarray([0, *np.unique(later)])
        times = steps * (dynamics.time_step / dynamics.voltage_time_constant)
        trajectories["controlled"] = eqx.filter_jit(_under_feedback)(
            aspects.feedback_control,
            dynamics,
            system,
            feedback,
            Batch(x[None], target[None]),
            steps,
            times,
        )
    elif aspects.control is not None:
        path = None if aspects.path is None else aspects.path(system, feedback)
        trajectories["controlled"] = eqx.filter_jit(_controlled)(
            aspects.control, path, system, feedback, x, target, times
        )
    trajectories["free"] = eqx.filter_jit(_free)(system, rule.loss, x, target, times)
    plane = _plane(
        [
            jnp.append(trajectory.states, trajectory.rest[None], axis=0)
            for trajectory in trajectories.values()
        ]
    )
    return {
        "times": _rounded(times),
        "controlled": None,
        **{name: trajectory.as_json(plane) for name, trajectory in trajectories.items()},
    }


class _ShownTrajectory(eqx.Module):
    """The quantities that are drawn of a trajectory and its equilibrium."""

    states: Float[Array, "times size"]
    losses: Float[Array, " times"]
    control: dict[str, Float[Array, " times"]]
    finished: Array
    rest: Float[Array, " size"]
    rest_loss: Float[Array, ""]
    rest_control: dict[str, Float[Array, ""]]
    probabilities: Float[Array, " outputs"]
    solved: Array
    error: Float[Array, ""]

    def as_json(self, plane: Callable[[Array], np.ndarray]) -> dict[str, Any]:
        """Converts the quantities to JSON, with the states projected onto a plane."""
        return {
            "finished": bool(self.finished),
            "loss": _rounded(self.losses),
            "control": {name: _rounded(sizes) for name, sizes in self.control.items()},
            "plane": _rounded(plane(self.states)),
            "rest": {
                "loss": _rounded(self.rest_loss),
                "control": {name: _rounded(size) for name, size in self.rest_control.items()},
                "plane": _rounded(plane(self.rest[None])[0]),
                "probabilities": _rounded(self.probabilities),
                "solved": bool(self.solved),
                "error": _rounded(self.error),
            },
        }


def _free(
    system: AbstractSystem, loss: AbstractLoss, x: Array, target: Array, times: Array
) -> _ShownTrajectory:
    drive = system.drive(x)
    trajectory = free_trajectory(system, drive, times)
    batch = jax.tree.map(lambda leaf: leaf[None], drive)
    rest = free_equilibrium(system, batch, solver=InTurn())
    state = jax.tree.map(lambda leaf: leaf[0], rest.value)
    zero = jax.tree.map(jnp.zeros_like, state)
    read = system.readout(state)
    point = Point(state, zero, jnp.zeros_like(read))
    return _shown(loss, target, trajectory, point, read, solved(rest)[0], rest.stats.error[0])


def _controlled(
    control: Control,
    path: AbstractControlPath | None,
    system: AbstractSystem,
    feedback: PyTree[Any],
    x: Array,
    target: Array,
    times: Array,
) -> _ShownTrajectory:
    problem = control.problem(system)
    batch = control.ask(problem, Batch(x[None], target[None])).samples
    sample = jax.tree.map(lambda leaf: leaf[0], batch)
    missing = None if path is None else path.missing
    trajectory = controlled_trajectory(problem, sample, times, missing)
    rest = control.controller.equilibrium(problem, batch, feedback)
    point = jax.tree.map(lambda leaf: leaf[0], rest.value)
    output = system.readout(point.state) + problem.own_gain * point.output_control
    return _shown(
        problem.loss, target, trajectory, point, output, solved(rest)[0], rest.stats.error[0]
    )


def _dynamics(phase: AbstractPhase) -> Dynamics:
    """Returns the dynamics in which a phase of deep feedback control is shown."""
    if phase.simulated is not None:
        return phase.simulated
    return Dynamics(**FAST_NEURONS, leak=phase.output_leak)


def _under_feedback(
    rule: DeepFeedbackControl,
    dynamics: Dynamics,
    system: AbstractSystem,
    feedback: PyTree[Any],
    batch: Batch,
    steps: Array,
    times: Array,
) -> _ShownTrajectory:
    # Neither the feedback learning nor the noise of the updates affects the trajectory.
    rule = dataclasses.replace(rule, feedback_learning=None, update_noise=0.0)
    task = rule.task(system, feedback, batch)
    draws = None
    if dynamics.noise is not None:
        draws = dynamics.noise.increments(jax.random.key(0), task.free.soma)
    solution = rule.credit(task, batch, draws).solution
    simulation = task.simulate(dynamics, (), draws, record=lambda moment: moment)
    moments = jax.tree.map(
        lambda first, later: jnp.append(first[None], later, axis=0)[steps, 0],
        simulation.first,
        simulation.recorded,
    )
    rest = jax.tree.map(lambda leaf: leaf[0], solution.value.moment)
    trajectory = Trajectory(
        times, _point(moments), moments.soma[-1], jnp.isfinite(moments.control).all()
    )
    is_solved, error = solved(solution)[0], solution.stats.error[0]
    return _shown(
        rule.loss, batch.targets[0], trajectory, _point(rest), rest.soma[-1], is_solved, error
    )


def _point(moment: Moment) -> Point:
    """Converts a moment to a state with the apical voltages as its control."""
    return Point(moment.soma[:-1], moment.apical[:-1], moment.apical[-1])


def _shown(
    loss: AbstractLoss,
    target: Array,
    trajectory: Trajectory,
    rest: Point,
    output: Array,
    is_solved: Array,
    error: Array,
) -> _ShownTrajectory:
    flat = lambda tree: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    size = lambda values: jnp.sqrt(jnp.mean(values**2, axis=tuple(range(1, values.ndim))))  # noqa: E731
    at_rest = lambda values: jnp.sqrt(jnp.mean(values**2))  # noqa: E731
    return _ShownTrajectory(
        jax.vmap(flat)(trajectory.points.state),
        jax.vmap(lambda output: loss(output, target))(trajectory.outputs),
        by_place(trajectory.points.control, trajectory.points.output_control, size),
        trajectory.finished,
        flat(rest.state),
        loss(output, target),
        by_place(rest.control, rest.output_control, at_rest),
        jax.nn.softmax(output),
        is_solved,
        error,
    )


def _plane(trajectories: list[Array]) -> Callable[[Array], np.ndarray]:
    """Builds the projection onto the two directions in which the states vary most."""
    states = np.concatenate([np.asarray(trajectory, np.float64) for trajectory in trajectories])
    states = states[np.isfinite(states).all(axis=1)]
    center = states.mean(axis=0)
    _, _, directions = np.linalg.svd(states - center, full_matrices=False)
    return lambda points: (np.asarray(points, np.float64) - center) @ directions[:2].T


def _rounded(values: Any) -> Any:
    """Rounds numbers to five digits, as many as a drawing can show."""
    array = np.asarray(values, np.float64)
    if array.ndim:
        return [_rounded(row) for row in array]
    return float(f"{float(array):.5g}")
