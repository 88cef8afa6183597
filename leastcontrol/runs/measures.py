"""The measures of the quality of a training.

For labels as targets it is the accuracy, together with the negative log-likelihood; for vectors it
is the mean squared error. A `Measure` has a name in the files, and a format for display. This
module imports nothing heavy.
"""

import dataclasses

from .config import RunConfig


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of the quality of a system on a part of the data.

    **Arguments:**

    * `name`: the name in JSON, which follows that of the part of the data, as in `test_accuracy`.
    * `title`, `unit`: as displayed.
    * `scale`: the factor from the unit of the file to the displayed unit.
    * `form`: the format of the number, as for `format`.
    * `rising`: whether larger values are better.
    """

    name: str
    title: str
    unit: str
    scale: float
    form: str
    rising: bool

    def shown(self, value: float) -> str:
        """Formats a value with its unit."""
        return f"{self.scale * value:{self.form}} {self.unit}".rstrip()

    def reached(self, value: float, target: float) -> bool:
        """Tells whether a value is at least as good as a target."""
        return value >= target if self.rising else value <= target


ACCURACY = Measure("accuracy", "accuracy", "%", 100.0, ".2f", True)
LIKELIHOOD = Measure("nll", "NLL", "nats", 1.0, ".2f", False)
SQUARED_ERROR = Measure("mean_squared_error", "mean squared error", "", 1.0, ".4g", False)


def measure_of(config: RunConfig) -> Measure:
    """Chooses the measure of a training, by which its best weights are selected too."""
    return SQUARED_ERROR if config.data.regression else ACCURACY


def summary_measures(config: RunConfig) -> dict[str, tuple[str, Measure]]:
    """Lists the measures in a summary by name, each with its part of the data."""
    main = measure_of(config)
    parts = [("test", main), ("train", main), ("validation", main)]
    if not config.data.regression:
        parts += [("test", LIKELIHOOD), ("train", LIKELIHOOD)]
    return {f"{part}_{measure.name}": (part, measure) for part, measure in parts}
