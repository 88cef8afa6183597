"""What a paper says of a figure that a run has measured, and what is said of the two.

A `Quantity` is where a figure stands in what a run leaves. An expectation is what is known of it
beforehand: a published number (`Published`), a place below another row (`BelowRow`, for figures
without numbers), or nothing (`Unpublished`). Given what was measured, each returns its verdict.
"""

import abc
import dataclasses
import math
import statistics
from collections.abc import Mapping

# Rounding in the last place must not turn a difference that is as large as the spread.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A figure of a run.

    **Arguments:**

    * `name`, `unit`: for the reader.
    * `path`: where it stands, in `summary.json` or in the last line of `metrics.jsonl`: that file's
      stem, then the names of its entries.
    * `scale`: from the run's unit to the reader's; `digits`: after the point.
    """

    name: str
    unit: str
    path: tuple[str, ...]
    scale: float = 1.0
    digits: int = 3

    def shown(self, value: float) -> str:
        """Returns a value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


TEST_ACCURACY = Quantity("test accuracy", "%", ("summary", "test_accuracy"), 100.0, 2)
META_ACCURACY = Quantity("test accuracy", "%", ("summary", "test", "accuracy"), 100.0, 2)
META_LOSS = Quantity("test loss", "", ("summary", "test", "loss"))


def _ratio(kind: str) -> Quantity:
    """Returns the mean of a kind's pictures, of their pixels that were not trained on."""
    return Quantity(f"PSNR, {kind}", "dB", ("summary", "psnr_test", kind, "mean"), digits=2)


NATURAL_RATIO = _ratio("natural")
TEXT_RATIO = _ratio("text")
TRAINING_LOSS = Quantity("training loss", "nats", ("metrics", "loss"), digits=4)


def _diagnosed(name: str, figure: str, unit: str, digits: int) -> Quantity:
    """Returns a figure of the whole system that a run diagnoses after its last epoch."""
    return Quantity(name, unit, ("metrics", "diagnostics", figure, "all"), digits=digits)


EXACT_ANGLE = _diagnosed("angle to the exact gradient", "angle_to_exact", "°", 1)
CONDITION = _diagnosed("condition 2", "condition", "", 3)
MARGIN = _diagnosed("stability margin", "margin", "", 4)
MINIMUM_NORM_ANGLE = _diagnosed("angle to minimum-norm", "angle_to_minimum_norm", "°", 1)
GAUSS_NEWTON_ANGLE = _diagnosed("angle to Gauss–Newton", "angle_to_gauss_newton", "°", 1)
ANALYTIC_ANGLE = _diagnosed("angle to the linearised update", "angle_to_analytic", "°", 1)
LOSS_ANGLE = _diagnosed("angle to the loss's gradient", "angle_to_loss", "°", 1)
CONTROL_NORM = Quantity("‖(ψ, u)‖", "", ("metrics", "control_norm"), digits=4)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A figure of one row: its values in the reader's unit, one for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return math.fsum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation; `None` for one seed, or values that are not finite."""
        if len(self.values) < 2 or not all(map(math.isfinite, self.values)):
            return None
        return statistics.stdev(self.values)

    def shown(self, quantity: Quantity) -> str:
        """Returns the mean with its deviation and unit."""
        return _with_spread(quantity, self.mean, self.deviation)


def _with_spread(quantity: Quantity, value: float, spread: float | None) -> str:
    if spread is None:
        return quantity.shown(value)
    return f"{value:.{quantity.digits}f} ± {quantity.shown(spread)}"


class AbstractExpectation(abc.ABC):
    """What is known of a figure before it is measured."""

    quantity: Quantity

    @abc.abstractmethod
    def shown(self) -> str:
        """Returns it for the reader."""

    @abc.abstractmethod
    def verdict(self, own: Measured, rows: Mapping[str, Measured]) -> str:
        """Returns what the measurement says of it.

        **Arguments:**

        * `own`: of this row. `rows`: the same quantity of all rows that are measured, by name.
        """


@dataclasses.dataclass(frozen=True)
class Published(AbstractExpectation):
    """A number v ± s of the paper, where s may be missing.

    A mean m with a deviation d of its own is within the spread if the intervals v ± s and m ± d
    touch, |m − v| ≤ s + d.
    """

    quantity: Quantity
    value: float
    spread: float | None = None

    def shown(self) -> str:
        return _with_spread(self.quantity, self.value, self.spread)

    def verdict(self, own: Measured, rows: Mapping[str, Measured]) -> str:
        del rows
        if not math.isfinite(own.mean):
            return "not a finite number"
        difference = own.mean - self.value
        if abs(difference) <= (self.spread or 0.0) + (own.deviation or 0.0) + ROUNDING:
            return "within spread"
        side = "above" if difference > 0 else "below"
        return f"{side} by {self.quantity.shown(abs(difference))}"


@dataclasses.dataclass(frozen=True)
class BelowRow(AbstractExpectation):
    """A figure of the paper without numbers, in which this row lies below another."""

    quantity: Quantity
    row: str

    def shown(self) -> str:
        return f"below {self.row}"

    def verdict(self, own: Measured, rows: Mapping[str, Measured]) -> str:
        if self.row not in rows:
            return f"{self.row} is not measured"
        difference = own.mean - rows[self.row].mean
        if not math.isfinite(difference):
            return "not a finite number"
        side = "below" if difference < 0 else "not below"
        return f"{side} {self.row}, by {self.quantity.shown(abs(difference))}"


@dataclasses.dataclass(frozen=True)
class Unpublished(AbstractExpectation):
    """Nothing is known of it."""

    quantity: Quantity

    def shown(self) -> str:
        return "–"

    def verdict(self, own: Measured, rows: Mapping[str, Measured]) -> str:
        del own, rows
        return "no published number"
