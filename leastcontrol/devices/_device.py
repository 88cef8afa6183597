"""What a device says of itself, what it measures, and the protocol that it speaks.

A laboratory implements `AbstractDevice`: four methods, NumPy arrays in and out, a batch at a time.
The device may be noisy, slow and wrong; it gives no equation, no derivative and no copy of its
noise. A `Description` says which weight lies between which neurons, which the local updates need,
and what a write can do.
"""

import abc
import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

INPUTS, ONE = "inputs", "one"
"""What a connection may come from besides a population: the inputs, and a constant 1."""


class DeviceError(RuntimeError):
    """Raised for a device that does not do as the protocol says; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Population:
    """Neurons that are alike.

    **Arguments:**

    * `name`: of the population.
    * `size`: number of neurons, each with a control line of its own.
    * `saturation`: lowest and highest activity, between which a neuron answers; `None` for neurons
      that do not saturate.
    """

    name: str
    size: int
    saturation: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Connection:
    """A matrix of weights that can be written, of shape `(neurons after, signals before)`.

    **Arguments:**

    * `name`: of the connection.
    * `before`: name of the population whose activity the weights read, `inputs`, or `one`.
    * `after`: name of the population that they drive.
    * `limit`: largest absolute weight; `None` if it is not known.
    * `step`: the smallest change that a write can make; `None` for any.
    """

    name: str
    before: str
    after: str
    limit: float | None = None
    step: float | None = None


@dataclasses.dataclass(frozen=True)
class Description:
    """What a device says of itself.

    The state is the activity of all populations in their order. The last population drives the
    output, one neuron for each element.

    **Arguments:**

    * `inputs`: number of inputs.
    * `populations`: in the order of the state and of the control lines.
    * `connections`: the weights that can be written.
    * `control_limit`: largest absolute control of a line; `None` for any.

    **Raises:** `DeviceError` for a connection between what is not there.
    """

    inputs: int
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    control_limit: float | None = None

    def __post_init__(self):
        names = [population.name for population in self.populations]
        for connection in self.connections:
            if connection.after not in names or connection.before not in (INPUTS, ONE, *names):
                raise DeviceError(
                    f"The connection {connection.name!r} goes from {connection.before!r} to "
                    f"{connection.after!r}, but a connection goes from {INPUTS!r}, {ONE!r} or one "
                    f"of {names} to one of {names}: correct the device's description."
                )

    @property
    def neurons(self) -> int:
        """Number of neurons, and of control lines."""
        return sum(population.size for population in self.populations)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.populations[-1].size

    def part(self, name: str) -> slice:
        """Finds the neurons of a population in the state."""
        first = 0
        for population in self.populations:
            if population.name == name:
                return slice(first, first + population.size)
            first += population.size
        raise KeyError(name)

    def neuron(self, index: int) -> str:
        """Names a neuron: its population and its number in it."""
        for population in self.populations:
            if index < population.size:
                return f"{population.name}[{index}]"
            index -= population.size
        raise IndexError(index)

    def shape(self, connection: Connection) -> tuple[int, int]:
        """Computes the shape of a connection's weights."""
        after = self.part(connection.after)
        if connection.before in (INPUTS, ONE):
            before = self.inputs if connection.before == INPUTS else 1
        else:
            part = self.part(connection.before)
            before = part.stop - part.start
        return after.stop - after.start, before

    def before(
        self, connection: Connection, inputs: np.ndarray, state: np.ndarray
    ) -> Float[np.ndarray, "batch before"]:
        """Selects the activity that the weights of a connection read."""
        if connection.before == INPUTS:
            return inputs
        if connection.before == ONE:
            return np.ones((len(inputs), 1))
        return state[:, self.part(connection.before)]

    def as_json(self) -> dict[str, Any]:
        """Converts the description to JSON's types, which `from_json` reads."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Any) -> "Description":
        """Reads a description from JSON's types.

        **Raises:** `DeviceError` for what is none.
        """
        try:
            populations = tuple(
                Population(
                    str(each["name"]),
                    int(each["size"]),
                    None if each["saturation"] is None else _pair(each["saturation"]),
                )
                for each in values["populations"]
            )
            connections = tuple(Connection(**each) for each in values["connections"])
            limit = values["control_limit"]
            return Description(int(values["inputs"]), populations, connections, limit)
        except (KeyError, TypeError, ValueError) as error:
            raise DeviceError(
                f"The device described itself by {str(values)[:200]!r}, but a description has "
                "inputs, populations, connections and control_limit: see Description.as_json."
            ) from error


class Measurement(NamedTuple):
    """What is measured of a batch once it has settled.

    * `state`: activity of all neurons, of shape `(batch, neurons)`.
    * `output`: of shape `(batch, outputs)`.
    """

    state: Float[np.ndarray, "batch neurons"]
    output: Float[np.ndarray, "batch outputs"]


Weights = dict[str, Float[np.ndarray, "after before"]]
"""Weights, or changes of weights, by the names of their connections."""
Memory = dict[str, np.ndarray]
"""What a simulated device does not tell and needs to be continued, by name."""


class AbstractDevice(abc.ABC):
    """A device that settles under inputs and control, and whose weights may be written."""

    @abc.abstractmethod
    def describe(self) -> Description:
        """Describes the populations, the connections and the limits of the device."""

    @abc.abstractmethod
    def settle(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Measurement:
        """Applies inputs and control, lets the device settle, and measures it.

        What could not be measured is NaN.

        **Raises:** `DeviceError` if the device cannot be reached.
        """

    @abc.abstractmethod
    def read(self) -> Weights:
        """Reads the weights, as the device knows them; mismatch stays hidden.

        **Raises:** `DeviceError` if the device cannot be reached.
        """

    @abc.abstractmethod
    def write(self, changes: Weights) -> None:
        """Changes the weights by the given amounts, as well as the device can.

        **Raises:** `DeviceError` if the device cannot be reached.
        """


def checked(description: Description, batch: int, measured: Measurement) -> Measurement:
    """Checks the shapes of a measurement, and makes readings NaN that are not finite.

    **Raises:** `DeviceError` for shapes that the description does not allow.
    """
    expected = ((batch, description.neurons), (batch, description.outputs))
    shapes = tuple(np.shape(part) for part in measured)
    if shapes != expected:
        raise DeviceError(
            f"The device measured a state and an output of shapes {shapes}, but its description "
            f"asks for {expected}: correct settle() or describe()."
        )
    return Measurement(*(np.where(np.isfinite(part), part, np.nan) for part in measured))


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
