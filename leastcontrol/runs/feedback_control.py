"""From the words of a configuration to its loss, and to deep feedback control."""

from ..controllers import (
    AbstractTeaching,
    DirectFeedback,
    JacobianFeedback,
    LabelDifference,
    Nudged,
    Strong,
    WeightProductFeedback,
)
from ..equilibrium import (
    AbstractNoise,
    Dynamics,
    FilteredNoise,
    FixedPoint,
    NormalIncrements,
    Tolerance,
    TwoPointIncrements,
    WhiteNoise,
)
from ..feedback_control import (
    AbstractFeedbackLearning,
    AbstractPhase,
    AnalyticSteadyState,
    Continuous,
    DeepFeedbackControl,
    QuasiStatic,
    RateDifference,
    SimulatedSteadyState,
    SinglePhase,
    SteadyState,
    TwoPhase,
    VoltageDifference,
)
from ..losses import AbstractLoss, CrossEntropy, SquaredError
from ..rules import Drop, Keep, RaiseError
from .config import RunConfig

UNSOLVED = {"drop": Drop, "keep": Keep, "raise": RaiseError}
PATHS = {
    "random": DirectFeedback,
    "weight-product": WeightProductFeedback,
    "jacobian": JacobianFeedback,
}
INCREMENTS = {"normal": NormalIncrements, "two-point": TwoPointIncrements}
DIFFERENCES = {"rate": RateDifference, "voltage": VoltageDifference}


def build_loss(config: RunConfig) -> AbstractLoss:
    """Returns the loss of a configuration's data."""
    return SquaredError() if config.regression else CrossEntropy(softness=config.softness)


def build_feedback_control(config: RunConfig) -> DeepFeedbackControl:
    """Returns the rule that a configuration describes.

    **Raises:** `ValueError` for constants that do not fit each other.
    """
    return DeepFeedbackControl(
        phase=_phase(config),
        teaching=_teaching(config),
        loss=build_loss(config),
        path=PATHS[config.feedback](),
        feedback_learning=_feedback_learning(config),
        difference=DIFFERENCES[config.difference](),
        update_noise=config.update_noise,
        published=config.conventions == "published",
    )


def _teaching(config: RunConfig) -> AbstractTeaching:
    if config.teaching == "nudged":
        return Nudged(config.nudge)
    return Strong() if config.teaching == "strong" else LabelDifference()


def _phase(config: RunConfig) -> AbstractPhase:
    if config.phase == "steady-state":
        return SteadyState(
            config.controller_leak,
            Tolerance(relative=config.tolerance),
            FixedPoint(max_steps=40 if config.max_steps is None else config.max_steps),
            UNSOLVED[config.unsolved](),
        )
    if config.phase == "analytic-steady-state":
        return AnalyticSteadyState(config.controller_leak)
    output = config.noise if config.output_noise is None else config.output_noise
    noise = None if config.noise == output == 0 else _noise(config, config.noise, output)
    dynamics = _dynamics(config, noise)
    if config.phase == "continuous":
        return Continuous(dynamics, config.reach, config.update_start)
    return SimulatedSteadyState(dynamics, config.reach)


def _feedback_learning(config: RunConfig) -> AbstractFeedbackLearning | None:
    if config.feedback_learning == "none":
        return None
    if config.feedback_learning == "quasi-static":
        return QuasiStatic(
            config.feedback_noise,
            config.direct_feedback_decay,
            config.quasi_static_leak,
            config.feedback_samples,
        )
    if config.feedback_learning == "single-phase":
        return SinglePhase(
            config.filter_time_constant,
            start=config.feedback_start,
            decay=config.direct_feedback_decay,
        )
    noise = _noise(config, config.feedback_noise, config.feedback_noise)
    strong = config.teaching != "nudged"
    return TwoPhase(
        _dynamics(config, noise),
        _teaching(config) if strong else Nudged(0.0),
        filter_time_constant=config.filter_time_constant if strong else None,
    )


def _noise(config: RunConfig, hidden: float, output: float) -> AbstractNoise:
    increments = INCREMENTS[config.noise_increments]()
    if config.noise_time_constant is None:
        return WhiteNoise(hidden, output, increments)
    return FilteredNoise(
        hidden, output, time_constant=config.noise_time_constant, increments=increments
    )


def _dynamics(config: RunConfig, noise: AbstractNoise | None) -> Dynamics:
    return Dynamics(
        config.time_step,
        config.points,
        config.voltage_time_constant,
        config.controller_leak,
        config.proportional_gain,
        config.apical_time_constant,
        delayed=config.transmission == "delayed",
        proactive=config.control_timing == "proactive",
        noise=noise,
    )
