"""Reference vectors of deep feedback control: networks with results of the authors' code.

`meta` contains the options of that code. The replay builds a rule with `published=True`, which
reproduces its behaviour. A vector with any other option is unsupported; no option is ignored.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..controllers import (
    AbstractTeaching,
    DirectFeedback,
    JacobianFeedback,
    LabelDifference,
    Nudged,
    Strong,
)
from ..equilibrium import (
    AbstractNoise,
    AbstractSum,
    Dynamics,
    FilteredNoise,
    Moment,
    WhiteNoise,
    deviation_of,
)
from ..feedback_control import (
    AbstractPhase,
    AnalyticSteadyState,
    Continuous,
    Controlled,
    DeepFeedbackControl,
    RateDifference,
    SimulatedSteadyState,
    SinglePhase,
    TwoPhase,
    VoltageDifference,
)
from ..rules import Batch
from ..systems import Feedforward
from .rows import Row, compared, results_of, unsupported
from .vector_files import UnsupportedVector, VectorError, choice, number_of

AGREEMENT = 1e-8

MODES = ("continuous", "steady", "analytic", "single_phase", "feedback")
ERRORS = ("difference", "cross_entropy")
POSITIVE = ("dt_di", "time_constant_ratio", "dt_di_fb", "time_constant_ratio_fb", "tau_noise")
NUMBERS = (
    *POSITIVE,
    "k_p",
    "alpha_di",
    "k_p_fb",
    "alpha_di_fb",
    "sigma",
    "sigma_output",
    "sigma_fb",
    "sigma_output_fb",
    "tau_f",
    "target_stepsize",
)
COUNTS = ("tmax_di", "tmax_di_fb")
APICAL = ("apical_time_constant", "apical_time_constant_fb")
FLAGS = {
    "inst_transmission": True,
    "inst_transmission_fb": True,
    "proactive_controller": True,
    "inst_system_dynamics": False,
    "low_pass_filter_u": False,
    "low_pass_filter_noise": False,
    "noisy_dynamics": False,
    "scaling_fb_updates": False,
    "strong_feedback": False,
    "use_jacobian_as_fb": False,
}
# Options that the mode implies.
IMPLIED = ("cont_updates", "ndi", "ss", "ssa", "mode", "error")


@dataclasses.dataclass(frozen=True)
class FeedbackVector:
    """A reference vector of deep feedback control.

    * `name`: file name without its suffix.
    * `mode`: `continuous`, `steady`, `analytic`, `single_phase`, or `feedback`, a phase that trains
      the feedback weights alone.
    * `error`: `difference` or `cross_entropy`.
    * `numbers`, `flags`: the options.
    * `voltages`: whether updates use voltages instead of rates.
    * `arrays`: the arrays of the file by name, without `meta`.
    * `layers`: number of layers.
    """

    name: str
    mode: str
    error: str
    numbers: Mapping[str, float]
    flags: Mapping[str, bool]
    voltages: bool
    arrays: Mapping[str, np.ndarray]
    layers: int


def feedback_vector(
    path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]
) -> FeedbackVector | UnsupportedVector:
    """Checks the arrays and the `meta` of a file, and makes a vector of them.

    **Raises:** `VectorError` if something is missing or invalid.
    """
    if meta["mode"] not in MODES:
        return UnsupportedVector(path.stem, f"The mode {meta['mode']!r} is not supported.")
    mode, error = choice(path, meta, "mode", MODES), choice(path, meta, "error", ERRORS)
    known = {*NUMBERS, *COUNTS, *APICAL, *FLAGS, *IMPLIED, "learning_rule"}
    unknown = sorted(set(meta) - known)
    if unknown:
        return UnsupportedVector(path.stem, f"The library cannot replay the option {unknown[0]!r}.")
    numbers = {
        name: number_of(path, meta, name, positive=name in POSITIVE) for name in (*NUMBERS, *COUNTS)
    }
    for name in COUNTS:
        if numbers[name] != int(numbers[name]) or numbers[name] < 3:
            raise VectorError(
                f"{path} has {name} = {meta[name]!r} in its meta, but that is a number of time "
                "points, at least 3: give an undamaged file of reference vectors."
            )
    for name in APICAL:
        # In the authors' code, -1 means no lag.
        lagged = meta.get(name, -1) != -1
        numbers[name] = number_of(path, meta, name, positive=True) if lagged else 0.0
    flags = {}
    for name, default in FLAGS.items():
        flags[name] = meta.get(name, default)
        if not isinstance(flags[name], bool):
            raise VectorError(
                f"{path} has {name} = {flags[name]!r} in its meta, but true or false is "
                "expected: give an undamaged file of reference vectors."
            )
    rules = ("nonlinear_difference", "voltage_difference")
    rule = choice(path, {"learning_rule": rules[0], **meta}, "learning_rule", rules)
    layers = _check_arrays(path, mode, flags, arrays)
    return FeedbackVector(path.stem, mode, error, numbers, flags, rule == rules[1], arrays, layers)


def _check_arrays(
    path: Path, mode: str, flags: Mapping[str, bool], arrays: Mapping[str, np.ndarray]
) -> int:
    """Raises `VectorError` for missing or misshapen arrays, wrong dtypes and infinite values."""
    layers = 0
    while f"param/{layers}/weight" in arrays:
        layers += 1
    noisy = mode in ("single_phase", "feedback") or flags["noisy_dynamics"]
    required = ["x", "y", "free_output", "u_end"]
    for index in range(max(layers, 2)):
        required += [f"param/{index}/{name}" for name in ("weight", "bias")]
        if not flags["use_jacobian_as_fb"]:
            required.append(f"param/{index}/feedback")
        if noisy:
            required.append(f"noise/{index}")
    missing = [name for name in required if name not in arrays]
    if missing:
        raise VectorError(
            f"{path} lacks {', '.join(repr(name) for name in missing)}, which a vector of the mode "
            f"{mode!r} has: give an undamaged file of reference vectors."
        )
    shapes = _shapes(path, layers, arrays)
    for name, array in arrays.items():
        expected = shapes.get(name)
        if expected is not None and (
            len(expected) != array.ndim
            or any(a not in (None, b) for a, b in zip(expected, array.shape, strict=True))
        ):
            raise VectorError(
                f"{path} holds {name!r} of shape {array.shape}, but with its other arrays that is "
                f"{expected}: give an undamaged file of reference vectors."
            )
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise VectorError(
                f"{path} holds {name!r} of dtype {array.dtype}, but reference vectors hold finite "
                "float64 numbers: give an undamaged file that was made in double precision."
            )
    return layers


def _shapes(
    path: Path, layers: int, arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[int | None, ...]]:
    for name in ("x", *(f"param/{index}/weight" for index in range(layers))):
        if arrays[name].ndim != 2 or arrays[name].size == 0:
            raise VectorError(
                f"{path} holds {name!r} of shape {arrays[name].shape}, but that is a matrix: give "
                "an undamaged file of reference vectors."
            )
    batch, before = arrays["x"].shape
    outputs = arrays[f"param/{layers - 1}/weight"].shape[0]
    shapes: dict[str, tuple[int | None, ...]] = {
        "y": (batch, outputs),
        "free_output": (batch, outputs),
        "u_end": (batch, outputs),
    }
    for index in range(layers):
        after = arrays[f"param/{index}/weight"].shape[0]
        of_layer = {"weight": (after, before), "bias": (after,), "feedback": (after, outputs)}
        for name, shape in of_layer.items():
            shapes[f"param/{index}/{name}"] = shapes[f"grad/{index}/{name}"] = shape
        shapes[f"noise/{index}"] = (None, batch, after)
        before = after
    return shapes


def replay_feedback(vector: FeedbackVector) -> Iterator[Row]:
    """Replays a vector and yields a row for each array of results; requires 64-bit numbers.

    An error is ‖ours − theirs‖ / ‖theirs‖, or ‖ours‖ if theirs is zero.
    """
    try:
        rule = _rule(vector)
    except ValueError as error:
        yield unsupported(vector.name, str(error))
        return
    ours = _results(vector, rule)
    theirs = results_of(vector.arrays, ("param/", "noise/"))
    yield from compared(vector.name, theirs, ours, AGREEMENT, "deep feedback control")


def _dynamics(vector: FeedbackVector, suffix: str, noise: AbstractNoise | None) -> Dynamics:
    number, flags = vector.numbers, vector.flags
    time_step = number[f"dt_di{suffix}"]
    instantaneous = flags["inst_system_dynamics"]
    return Dynamics(
        time_step,
        int(number[f"tmax_di{suffix}"]),
        time_step if instantaneous else number[f"time_constant_ratio{suffix}"],
        number[f"alpha_di{suffix}"],
        number[f"k_p{suffix}"],
        number[f"apical_time_constant{suffix}"] or None,
        delayed=not (flags[f"inst_transmission{suffix}"] or instantaneous),
        proactive=flags["proactive_controller"],
        control_filter=number["tau_f"] if flags["low_pass_filter_u"] else None,
        noise=noise,
    )


def _noise(vector: FeedbackVector, suffix: str, *, filtered: bool) -> AbstractNoise:
    number = vector.numbers
    time_step = number[f"dt_di{suffix}"]
    constant = number[f"apical_time_constant{suffix}"] or time_step
    constant = number["tau_noise"] if filtered else constant
    unit = deviation_of(1.0, time_step, constant)
    sizes = (number[f"sigma{suffix}"] * unit, number[f"sigma_output{suffix}"] * unit)
    return FilteredNoise(*sizes, time_constant=constant) if filtered else WhiteNoise(*sizes)


def _teaching(vector: FeedbackVector) -> AbstractTeaching:
    if vector.flags["strong_feedback"]:
        return Strong() if vector.error == "cross_entropy" else LabelDifference()
    # A phase that trains feedback alone keeps the free output.
    return Nudged(0.0 if vector.mode == "feedback" else vector.numbers["target_stepsize"])


def _rule(vector: FeedbackVector) -> DeepFeedbackControl:
    """Makes the rule with the options of a vector.

    **Raises:** `ValueError` for constants that the library does not support.
    """
    filtered = vector.mode == "single_phase" or vector.flags["low_pass_filter_noise"]
    noise = None
    if vector.mode == "single_phase" or vector.flags["noisy_dynamics"]:
        noise = _noise(vector, "", filtered=filtered)
    learning = None
    phase: AbstractPhase
    if vector.mode == "analytic":
        phase = AnalyticSteadyState(vector.numbers["alpha_di"])
    elif vector.mode == "steady":
        phase = SimulatedSteadyState(_dynamics(vector, "", noise))
    elif vector.mode == "feedback":
        phase = SimulatedSteadyState(
            _dynamics(vector, "_fb", _noise(vector, "_fb", filtered=filtered))
        )
        scaling = vector.numbers["tau_noise"] if vector.flags["scaling_fb_updates"] else None
        learning = TwoPhase(phase.dynamics, _teaching(vector), scaling_time_constant=scaling)
    else:
        phase = Continuous(_dynamics(vector, "", noise))
        if vector.mode == "single_phase":
            learning = SinglePhase(
                vector.numbers["tau_f"], scaled=vector.flags["scaling_fb_updates"]
            )
    return DeepFeedbackControl(
        phase=phase,
        teaching=_teaching(vector),
        path=JacobianFeedback() if vector.flags["use_jacobian_as_fb"] else DirectFeedback(),
        feedback_learning=learning,
        difference=VoltageDifference() if vector.voltages else RateDifference(),
        published=True,
    )


class _LateControl(AbstractSum):
    """The control at the end of a feedback phase, as computed by the authors' code.

    It is the average over the last quarter of the time points, where the last point is zero because
    that code has not yet filled it in.
    """

    points: int = eqx.field(static=True)

    def initial(self, first: Moment) -> Array:
        return first.control

    def add(self, total: Array, step: Int[Array, ""], before: Moment, after: Moment) -> Array:
        quarter = self.points // 4
        point = step + 1
        late = (point >= self.points - quarter) & (point < self.points - 1)
        return total + jnp.where(late, after.control, 0) / quarter


def _results(vector: FeedbackVector, rule: DeepFeedbackControl) -> dict[str, Any]:
    arrays = {name: jnp.asarray(array) for name, array in vector.arrays.items()}
    batch = Batch(arrays["x"], arrays["y"])
    noise = [arrays[f"noise/{i}"] for i in range(vector.layers) if f"noise/{i}" in arrays]
    feedback = None
    if not vector.flags["use_jacobian_as_fb"]:
        feedback = tuple(arrays[f"param/{index}/feedback"] for index in range(vector.layers))

    @eqx.filter_jit
    def apply(network: Feedforward, feedback: Any, batch: Batch, noise: list[Array]) -> Any:
        def draws(step: Array) -> tuple[Array, ...]:
            return tuple(of_layer[step] for of_layer in noise)

        stored_draws = draws if noise else None
        task = rule.task(network, feedback, batch)
        credit = rule.credit(task, batch, stored_draws, learning_draws=stored_draws)
        value = credit.solution.value
        assert isinstance(value, Controlled)
        control = value.moment.control
        if isinstance(rule.feedback_learning, TwoPhase):
            dynamics = rule.feedback_learning.dynamics
            average = _LateControl(dynamics.points)
            (control,) = task.simulate(dynamics, (average,), stored_draws).sums
        return credit, task.free.soma[-1], control

    credit, free_output, control = apply(_network(vector, arrays), feedback, batch, noise)
    results: dict[str, Any] = {"free_output": free_output, "u_end": control}
    for index, layer in enumerate(credit.gradient.layers):
        results[f"grad/{index}/weight"] = layer.weight
        results[f"grad/{index}/bias"] = layer.bias
    for index, gradient in enumerate(credit.feedback_gradient or ()):
        results[f"grad/{index}/feedback"] = gradient
    return results


def _network(vector: FeedbackVector, arrays: Mapping[str, Array]) -> Feedforward:
    parameters = [
        arrays[f"param/{index}/{name}"]
        for index in range(vector.layers)
        for name in ("weight", "bias")
    ]
    sizes = [weight.shape[0] for weight in parameters[::2]]
    structure = eqx.filter_eval_shape(
        Feedforward, arrays["x"].shape[1], tuple(sizes[:-1]), sizes[-1], key=jax.random.key(0)
    )
    return eqx.tree_at(
        lambda network: [leaf for layer in network.layers for leaf in (layer.weight, layer.bias)],
        structure,
        parameters,
    )
