"""What training leaves: figures, weights, and the errors that end it."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float, PyTree

from ..equilibrium import Point
from ..systems import AbstractSystem
from ._evaluation import AnyEvaluation, evaluation_of

Diagnostics = dict[str, dict[str, float]]
"""Figures by name, and within each a number for every part of the system that it is measured of."""


class UnfitError(RuntimeError):
    """A system was looked at before an epoch and must not be trained; the message says why."""


class TrainingError(RuntimeError):
    """Training cannot go on; `trained` holds the weights and figures from before that epoch."""

    def __init__(self, message: str, trained: "Trained"):
        super().__init__(message)
        self.trained = trained


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """The figures of one epoch.

    * `loss`, `objective`: means of `Credit.loss` and `Credit.objective` over the steps in which a
      sample counts.
    * `control_norm`, `control_energy`: means of ‖(ψ, u)‖ and of its square over the samples where
      these are finite.
    * `converged_fraction`: share of solves, each of one sample in one step, that were solved.
    * `residual_max`: the largest residual of a solved sample as a multiple of what is allowed.
    * `steps_mean`, `steps_max`: iterations of a sample's solve.
    * `step_ms`: wall time of a step, in milliseconds, the epoch's compilation not counted.
    * `seconds`: wall time of the epoch's steps.
    * `validation`: measured with the weights at the end of the epoch.
    * `updates`: steps of the optimiser so far.
    * `step_bytes`: the working memory that XLA plans for a device's steps, weights and data not
      counted; 0 where it is not known.
    * `diagnostics`: what `diagnose` measured of the weights at the end, if it was given.
    * `removed`: share of the free loss that control removes at rest, the mean over the steps in
      which it was measured; `None` for a rule without control.
    * `kappa`: the relative leak at the end, if a share of the loss is asked for.
    * `tolerance`: the largest relative residual that a step allowed, if it is chosen by the noise.
    """

    epoch: int
    loss: float
    objective: float
    control_norm: float
    control_energy: float
    converged_fraction: float
    residual_max: float
    steps_mean: float
    steps_max: int
    step_ms: float
    seconds: float
    validation: AnyEvaluation
    updates: int = 0
    step_bytes: int = 0
    diagnostics: Diagnostics | None = None
    removed: float | None = None
    kappa: float | None = None
    tolerance: float | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training leaves, and everything that it needs to go on.

    * `system`, `feedback`: the system and the rule's feedback weights.
    * `metrics`: the figures of the epochs so far.
    * `optimiser_states`: the states of the system's optimiser and of the feedback's.
    * `points`: the last controlled rest point of every training sample, with `warm_start`.
    * `kappa`: the relative leak that the last step ended with, if a share of the loss is asked for.
    * `tolerance`: the relative residual that the last step allowed, if it is chosen by the noise.
    """

    system: AbstractSystem
    feedback: PyTree[Any]
    metrics: tuple[EpochMetrics, ...]
    optimiser_states: PyTree[Any]
    points: Point | None = None
    kappa: Float[Array, ""] | None = None
    tolerance: Float[Array, ""] | None = None

    def kept(self) -> PyTree[Any]:
        """Collects the arrays that `Checkpoints` keeps."""
        # What is `None` has no arrays: states of versions without κ are read as ever.
        following = (self.points, self.kappa, self.tolerance)
        return self.system, self.feedback, self.optimiser_states, *following

    def restored(self, kept: PyTree[Any], rows: list[dict[str, Any]]) -> "Trained":
        """Makes the same from the arrays of `kept` and from figures as JSON has them."""
        metrics = tuple(
            EpochMetrics(**{**row, "validation": evaluation_of(row["validation"])}) for row in rows
        )
        system, feedback, optimiser_states, *following = kept
        return Trained(system, feedback, metrics, optimiser_states, *following)
