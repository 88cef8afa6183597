"""The published values of the quantities that runs measure, and verdicts on the measurements.

A `Quantity` says where a value is stored in the files of a run. An expectation is a published
number (`Published`), a claim about this row and another (`BelowRow`, `AboveRow`, `NearRow`), or
nothing (`Unpublished`). Each returns a verdict on a measurement. A reduced run is not judged by the
published number, but by what such a run measured before (`Recorded`).
"""

import abc
import dataclasses
import math
import statistics
from collections.abc import Mapping

# A difference as large as the spread counts as within it, despite rounding in the last place.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A value in the files of a run.

    **Arguments:**

    * `name`, `unit`: as displayed.
    * `path`: the stem of the file, `summary` for `summary.json`, or `metrics` and `first-metrics`
      for the last and the first line of `metrics.jsonl`, followed by the names of the entries.
    * `scale`: the factor from the unit of the file to the displayed unit.
    * `digits`: the number of displayed digits after the decimal point.
    """

    name: str
    unit: str
    path: tuple[str, ...]
    scale: float = 1.0
    digits: int = 3

    def shown(self, value: float) -> str:
        """Formats a value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


TEST_ACCURACY = Quantity("test accuracy", "%", ("summary", "test_accuracy"), 100.0, 2)
TEST_ERROR = Quantity("test error", "", ("summary", "test_mean_squared_error"), digits=5)
META_ACCURACY = Quantity("test accuracy", "%", ("summary", "test", "accuracy"), 100.0, 2)
META_LOSS = Quantity("test loss", "", ("summary", "test", "loss"))


def _ratio(kind: str) -> Quantity:
    """Names the mean ratio of the pictures of a kind, on pixels outside the training set."""
    return Quantity(f"PSNR, {kind}", "dB", ("summary", "psnr_test", kind, "mean"), digits=2)


NATURAL_RATIO = _ratio("natural")
TEXT_RATIO = _ratio("text")
TRAINING_LOSS = Quantity("training loss", "nats", ("metrics", "loss"), digits=4)


def _diagnosed(name: str, figure: str, unit: str, digits: int) -> Quantity:
    """Names a figure of the whole system that a run diagnoses after its last epoch."""
    return Quantity(name, unit, ("metrics", "diagnostics", figure, "all"), digits=digits)


EXACT_ANGLE = _diagnosed("angle to the exact gradient", "angle_to_exact", "°", 1)
EXACT_ANGLE_AT_FIRST = dataclasses.replace(
    EXACT_ANGLE,
    name="angle to the exact gradient, first epoch",
    path=("first-metrics", *EXACT_ANGLE.path[1:]),
)
CONDITION = _diagnosed("condition 2", "condition", "", 3)
MARGIN = _diagnosed("stability margin", "margin", "", 4)
MINIMUM_NORM_ANGLE = _diagnosed("angle to minimum-norm", "angle_to_minimum_norm", "°", 1)
GAUSS_NEWTON_ANGLE = _diagnosed("angle to Gauss–Newton", "angle_to_gauss_newton", "°", 1)
ANALYTIC_ANGLE = _diagnosed("angle to the linearised update", "angle_to_analytic", "°", 1)
LOSS_ANGLE = _diagnosed("angle to the loss's gradient", "angle_to_loss", "°", 1)
CONTROL_NORM = Quantity("‖(ψ, u)‖", "", ("metrics", "control_norm"), digits=4)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The values of a quantity in one row, in the displayed unit, one for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the values; `None` for one seed, or if one is not finite."""
        if len(self.values) < 2 or not all(map(math.isfinite, self.values)):
            return None
        return statistics.stdev(self.values)

    def shown(self, quantity: Quantity) -> str:
        """Formats the mean with its deviation and unit."""
        return _with_spread(quantity, self.mean, self.deviation)


def _with_spread(quantity: Quantity, value: float, spread: float | None) -> str:
    if spread is None:
        return quantity.shown(value)
    return f"{value:.{quantity.digits}f} ± {quantity.shown(spread)}"


class AbstractExpectation(abc.ABC):
    """What is known of a quantity before it is measured."""

    quantity: Quantity

    @abc.abstractmethod
    def shown(self) -> str:
        """Formats the expectation for display."""

    @abc.abstractmethod
    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        """Compares a measurement with the expectation.

        **Arguments:**

        * `measured`: the quantity in this row.
        * `rows`: the same quantity in all measured rows, by name.
        """

    @abc.abstractmethod
    def when_reduced(self, before: Measured | None) -> "AbstractExpectation":
        """Returns what a reduced run is judged by.

        **Arguments:** `before`, what such a run has measured before, if there is a record of it.
        """


class _AbstractOfFullSize(AbstractExpectation):
    """What only a run of the full size is judged by; a reduced one is judged by its record."""

    def when_reduced(self, before: Measured | None) -> AbstractExpectation:
        return Unrecorded(self.quantity) if before is None else Recorded(self.quantity, before)


class _AbstractOfAnySize(AbstractExpectation):
    """What a run of any size is judged by."""

    def when_reduced(self, before: Measured | None) -> AbstractExpectation:
        del before
        return self


@dataclasses.dataclass(frozen=True)
class Published(_AbstractOfFullSize):
    """A published number v ± s, where s may be missing.

    A mean m with the deviation d is within the spread if the intervals v ± s and m ± d overlap or
    touch, |m − v| ≤ s + d.
    """

    quantity: Quantity
    value: float
    spread: float | None = None

    def shown(self) -> str:
        return _with_spread(self.quantity, self.value, self.spread)

    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        del rows
        if not math.isfinite(measured.mean):
            return "not a finite number"
        difference = measured.mean - self.value
        spread = (self.spread or 0.0) + (measured.deviation or 0.0)
        if abs(difference) <= spread + ROUNDING:
            return "within spread"
        side = "above" if difference > 0 else "below"
        return f"{side} by {self.quantity.shown(abs(difference))}"


@dataclasses.dataclass(frozen=True)
class Recorded(_AbstractOfAnySize):
    """The values v that another run of the same configuration measured, one for each seed.

    The mean m of a run with the deviation d is as recorded if it differs from the mean of v by at
    most twice the sum of both deviations: for three seeds each that is 4.9 standard errors of the
    difference. A difference in the last displayed digit is never judged.
    """

    quantity: Quantity
    values: Measured

    def shown(self) -> str:
        return self.values.shown(self.quantity)

    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        del rows
        difference = measured.mean - self.values.mean
        if not math.isfinite(difference):
            return "not a finite number"
        spread = 2 * ((self.values.deviation or 0.0) + (measured.deviation or 0.0))
        if abs(difference) <= spread + 10.0**-self.quantity.digits + ROUNDING:
            return "as recorded"
        side = "above" if difference > 0 else "below"
        return f"{side} what was recorded, by {self.quantity.shown(abs(difference))}"


def _paired_difference(measured: Measured, other: Measured) -> tuple[float, float | None]:
    """Computes the mean difference of two rows over their seeds, and its standard error."""
    pairs = zip(measured.values, other.values, strict=True)
    differences = Measured(tuple(value - another for value, another in pairs))
    error = differences.deviation
    return differences.mean, None if error is None else error / math.sqrt(len(differences.values))


class _AbstractBesideRow(_AbstractOfAnySize):
    """A claim about this row and another, seed by seed."""

    quantity: Quantity
    row: str

    @abc.abstractmethod
    def said(self, difference: float, size: str) -> str:
        """Judges the mean of this row minus the other, whose size is formatted with its error."""

    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        if self.row not in rows:
            return f"{self.row} is not measured"
        difference, error = _paired_difference(measured, rows[self.row])
        if not math.isfinite(difference):
            return "not a finite number"
        return self.said(difference, _with_spread(self.quantity, abs(difference), error))


class _AbstractOrder(_AbstractBesideRow):
    """A claim about the order of this row and another."""

    @property
    @abc.abstractmethod
    def side(self) -> str:
        """The side of the other row on which this one is claimed to lie: below or above."""

    @abc.abstractmethod
    def holds(self, difference: float) -> bool:
        """Returns whether this row minus the other is on the claimed side."""

    def shown(self) -> str:
        return f"{self.side} {self.row}"

    def said(self, difference: float, size: str) -> str:
        side = self.side if self.holds(difference) else f"not {self.side}"
        return f"{side} {self.row}, by {size}"


@dataclasses.dataclass(frozen=True)
class BelowRow(_AbstractOrder):
    """A claim that this row lies below another. The verdict gives the mean difference over the
    seeds, with its standard error.
    """

    quantity: Quantity
    row: str

    @property
    def side(self) -> str:
        return "below"

    def holds(self, difference: float) -> bool:
        return difference < 0


@dataclasses.dataclass(frozen=True)
class AboveRow(_AbstractOrder):
    """A claim that this row lies above another, judged as by `BelowRow`."""

    quantity: Quantity
    row: str

    @property
    def side(self) -> str:
        return "above"

    def holds(self, difference: float) -> bool:
        return difference > 0


@dataclasses.dataclass(frozen=True)
class NearRow(_AbstractBesideRow):
    """A claim that this row lies at most `within` below another, judged as by `BelowRow`."""

    quantity: Quantity
    row: str
    within: float

    def shown(self) -> str:
        return f"at most {self.quantity.shown(self.within)} below {self.row}"

    def said(self, difference: float, size: str) -> str:
        side = "below" if difference < 0 else "above"
        claimed = "as claimed" if -difference <= self.within else "not as claimed"
        return f"{claimed}: {side} by {size}"


@dataclasses.dataclass(frozen=True)
class Unpublished(_AbstractOfFullSize):
    """No published number."""

    quantity: Quantity

    def shown(self) -> str:
        return "–"

    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        del measured, rows
        return "no published number"


@dataclasses.dataclass(frozen=True)
class Unrecorded(_AbstractOfAnySize):
    """Nothing to judge a reduced run by: no such run has been recorded."""

    quantity: Quantity

    def shown(self) -> str:
        return "–"

    def verdict(self, measured: Measured, rows: Mapping[str, Measured]) -> str:
        del measured, rows
        return "nothing recorded"
