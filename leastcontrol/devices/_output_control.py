"""The output controller on the host, which drives the measured output to its target.

The control of the output u answers the error e = t − softmax(y), and reaches the neurons as
ψ = Qu through feedback weights Q. `Proportional` answers the free output in one settle;
`LeakyIntegral` goes on, a settle at a time, and gives way where the measured error stops falling.
"""

import abc
import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ._device import Measurement

Settle = Callable[[Float[np.ndarray, "batch neurons"]], Measurement]


class Driven(NamedTuple):
    """A batch that was driven towards its targets.

    * `measured`: under the last control.
    * `control`: ψ, as it was applied.
    * `saturated`: whether a control line of a sample was at its limit.
    * `remaining`: ‖e‖ under control, divided by ‖e‖ without.
    """

    measured: Measurement
    control: Float[np.ndarray, "batch neurons"]
    saturated: Bool[np.ndarray, " batch"]
    remaining: Float[np.ndarray, " batch"]


def output_error(
    output: Float[np.ndarray, "batch outputs"], targets: Float[np.ndarray, "batch outputs"]
) -> Float[np.ndarray, "batch outputs"]:
    """Computes t − softmax(y) among the outputs that were measured; 0 for the others."""
    known = np.isfinite(output)
    raised = np.where(known, output, -np.inf)
    highest = np.max(raised, axis=1, keepdims=True)
    raised = np.exp(raised - np.where(np.isfinite(highest), highest, 0))
    total = np.sum(raised, axis=1, keepdims=True)
    return np.where(known, targets - raised / np.where(total > 0, total, 1), 0.0)


class AbstractOutputDrive(abc.ABC):
    """Drives the output of a batch to its targets."""

    @property
    @abc.abstractmethod
    def settles(self) -> int:
        """The largest number of settles."""

    @abc.abstractmethod
    def drive(
        self,
        settle: Settle,
        free: Float[np.ndarray, "batch outputs"],
        targets: Float[np.ndarray, "batch outputs"],
        feedback: Float[np.ndarray, "neurons outputs"],
        limit: float | None,
    ) -> Driven:
        """Settles under controls that bring the output nearer to its targets.

        **Arguments:**

        * `settle`: from a control to what is measured under it.
        * `free`: the output without control.
        * `targets`: probabilities.
        * `feedback`: Q.
        * `limit`: largest absolute control of a line, which the device told; `None` for any.
        """


@dataclasses.dataclass(frozen=True)
class Proportional(AbstractOutputDrive):
    """u = k e of the free output, in one settle.

    **Arguments:** `gain`, k.

    **Raises:** `ValueError` for a gain that is not above 0.
    """

    gain: float = 0.1

    def __post_init__(self):
        _check_positive("gain", self.gain)

    @property
    def settles(self) -> int:
        return 1

    def drive(
        self,
        settle: Settle,
        free: Float[np.ndarray, "batch outputs"],
        targets: Float[np.ndarray, "batch outputs"],
        feedback: Float[np.ndarray, "neurons outputs"],
        limit: float | None,
    ) -> Driven:
        error = output_error(free, targets)
        control, saturated = _limited(self.gain * error @ feedback.T, limit)
        measured = settle(control)
        return Driven(measured, control, saturated, _left(error, measured, targets))


@dataclasses.dataclass(frozen=True)
class LeakyIntegral(AbstractOutputDrive):
    """u ← u + k (e − αu), a settle at a time, from u = k e of the free output.

    Where the measured error of a sample does not fall, its control goes back to the one before and
    its gain is halved.

    **Arguments:** `gain`, k; `leak`, α; `count`, the number of settles; `seconds`, after which no
    further settle is begun.

    **Raises:** `ValueError` for a gain that is not above 0, a negative leak, or no settle.
    """

    gain: float = 0.3
    leak: float = 0.1
    count: int = 3
    seconds: float = float("inf")

    def __post_init__(self):
        _check_positive("gain", self.gain)
        if not 0 <= self.leak < float("inf") or self.count < 1:
            raise ValueError(
                f"The output controller was given leak={self.leak} and count={self.count}, but a "
                "leak is at least 0 and there is at least one settle: write "
                "LeakyIntegral(leak=0.1, count=3)."
            )

    @property
    def settles(self) -> int:
        return self.count

    def drive(
        self,
        settle: Settle,
        free: Float[np.ndarray, "batch outputs"],
        targets: Float[np.ndarray, "batch outputs"],
        feedback: Float[np.ndarray, "neurons outputs"],
        limit: float | None,
    ) -> Driven:
        began = time.monotonic()
        first = output_error(free, targets)
        u = self.gain * first
        control, saturated = _limited(u @ feedback.T, limit)
        measured = settle(control)
        error, size = _error_and_size(measured, targets)
        worse = size >= np.linalg.norm(first, axis=1)
        gain = np.where(worse, self.gain / 2, self.gain)[:, None]
        for _ in range(self.count - 1):
            if time.monotonic() - began > self.seconds:
                break
            proposed = u + gain * (error - self.leak * u)
            tried, full = _limited(proposed @ feedback.T, limit)
            reached = settle(tried)
            left, left_size = _error_and_size(reached, targets)
            better = left_size < size
            keep = better[:, None]
            u, error = np.where(keep, proposed, u), np.where(keep, left, error)
            control = np.where(keep, tried, control)
            measured = Measurement(
                np.where(keep, reached.state, measured.state),
                np.where(keep, reached.output, measured.output),
            )
            saturated = np.where(better, full, saturated)
            gain = np.where(keep, gain, gain / 2)
            size = np.where(better, left_size, size)
        return Driven(measured, control, saturated, _left(first, measured, targets))


def _limited(
    control: np.ndarray, limit: float | None
) -> tuple[Float[np.ndarray, "batch neurons"], Bool[np.ndarray, " batch"]]:
    if limit is None:
        return control, np.zeros(len(control), bool)
    return np.clip(control, -limit, limit), np.any(np.abs(control) >= limit, axis=1)


def _error_and_size(
    measured: Measurement, targets: np.ndarray
) -> tuple[Float[np.ndarray, "batch outputs"], Float[np.ndarray, " batch"]]:
    error = output_error(measured.output, targets)
    return error, np.linalg.norm(error, axis=1)


def _left(
    first: np.ndarray, measured: Measurement, targets: np.ndarray
) -> Float[np.ndarray, " batch"]:
    size = np.linalg.norm(first, axis=1)
    left = np.linalg.norm(output_error(measured.output, targets), axis=1)
    return left / np.where(size > 0, size, 1)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"`{name}` is {value}, but it is finite and above 0: write {name}=0.1.")
