"""What a training is judged by, in its own unit.

Where the targets are labels it is the accuracy, with the likelihood beside it; where they are
vectors it is the mean squared error. A `Measure` is one such figure: its name in the files, and how
it is shown. It imports nothing heavy.
"""

import dataclasses

from .config import RunConfig


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of a system on a part of the data.

    **Arguments:**

    * `name`: in JSON, behind that of the part: `test_accuracy`.
    * `title`, `unit`: for the reader; `scale`, from the file's unit to the reader's; `form`, of the
      number as `format` takes it.
    * `rising`: whether more of it is better.
    """

    name: str
    title: str
    unit: str
    scale: float
    form: str
    rising: bool

    def shown(self, value: float) -> str:
        """Returns a value with its unit."""
        return f"{self.scale * value:{self.form}} {self.unit}".rstrip()

    def reached(self, value: float, target: float) -> bool:
        """Returns whether a value is as good as a target."""
        return value >= target if self.rising else value <= target


ACCURACY = Measure("accuracy", "accuracy", "%", 100.0, ".2f", True)
LIKELIHOOD = Measure("nll", "NLL", "nats", 1.0, ".2f", False)
SQUARED_ERROR = Measure("mean_squared_error", "mean squared error", "", 1.0, ".4g", False)


def measure_of(config: RunConfig) -> Measure:
    """Returns what a training is judged by, and its best weights are chosen by."""
    return SQUARED_ERROR if config.data.regression else ACCURACY


def summary_measures(config: RunConfig) -> dict[str, tuple[str, Measure]]:
    """Returns the part of the data and the measure of every such figure of a summary, by name."""
    own = measure_of(config)
    parts = [("test", own), ("train", own), ("validation", own)]
    if not config.data.regression:
        parts += [("test", LIKELIHOOD), ("train", LIKELIHOOD)]
    return {f"{part}_{measure.name}": (part, measure) for part, measure in parts}
