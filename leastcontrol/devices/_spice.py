"""A circuit of resistors and bipolar differential pairs, simulated by ngspice.

The device writes its netlist (`_circuit`), hands it to the program (`_ngspice`) and measures
operating points, one for each sample, or with noise the means of transients. A learner sees
voltages and weights alone.
"""

import math

import numpy as np
from jaxtyping import Float

from ._circuit import CONTROL_LIMIT, NOISE_STEP, TIME_CONSTANT, WAIT, WINDOW, Circuit
from ._device import ONE, AbstractDevice, Description, Measurement, Weights
from ._ngspice import Ngspice


class SpiceDevice(AbstractDevice):
    """A hidden layer of differential pairs between resistors, simulated by ngspice.

    A weight is a pair of resistors, control is an injected current, and to settle is to find the
    operating point, where a sample that has none is NaN. Weights have a limit and steps, which a
    write rounds to.

    **Arguments:**

    * `inputs`, `pairs`, `outputs`: number of inputs, of differential pairs, of outputs.
    * `resistor_mismatch`: standard deviation of a resistor, relative to its value; at least 0.
    * `offset`: standard deviation of the offsets of pairs and outputs, in volts; at least 0.
    * `noise`: standard deviation of the voltage of every node, in its unit; at least 0. Above 0, to
      settle is a transient from the operating point, averaged over 10 time constants of a node
      after 5 of them; the mean has 0.42 of the deviation left. ngspice draws the noise, and does
      not repeat it.
    * `seed`: of the parts, and of the first weights.

    **Raises:** `ValueError` for a value out of range, and `DeviceError` if ngspice is not
    installed.
    """

    def __init__(
        self,
        inputs: int,
        pairs: int,
        outputs: int,
        *,
        resistor_mismatch: float = 0.05,
        offset: float = 2e-3,
        noise: float = 0.0,
        seed: int,
    ):
        if min(inputs, pairs, outputs) < 1:
            raise ValueError(
                f"The circuit was given inputs={inputs}, pairs={pairs} and outputs={outputs}, but "
                "each is at least 1: write SpiceDevice(64, 16, 10, seed=0)."
            )
        for name, value in (
            ("resistor_mismatch", resistor_mismatch),
            ("offset", offset),
            ("noise", noise),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` is {value}, but it is finite and at least 0: write "
                    f"SpiceDevice(64, 16, 10, {name}=0, seed=0)."
                )
        parts, first = np.random.default_rng([seed, 0]).spawn(2)

        def factors(nodes: int, signals: int) -> np.ndarray:
            # A logarithm, so that no resistance is negative.
            return np.exp(resistor_mismatch * parts.standard_normal((2, nodes, signals)))

        self._circuit = circuit = Circuit(
            inputs,
            pairs,
            outputs,
            (factors(pairs, inputs + 1), factors(outputs, pairs + 1)),
            offset * parts.standard_normal(pairs),
            offset * parts.standard_normal(outputs),
            noise,
        )
        self._description = description = circuit.description()
        zero = {each.name: np.zeros(description.shape(each)) for each in description.connections}
        drawn = {
            each.name: first.standard_normal(zero[each.name].shape)
            * math.sqrt(2 / sum(zero[each.name].shape))
            for each in description.connections
            if each.before != ONE
        }
        self._weights = self._possible({**zero, **drawn})
        self._ngspice = Ngspice(circuit.netlist(self._weights))
        self._applied = np.zeros(len(circuit.sources()))

    def describe(self) -> Description:
        """Describes the layers, and the limits and steps of the weights."""
        return self._description

    def settle(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Measurement:
        """Finds the operating point of each sample, or its mean under noise, and reads it."""
        circuit = self._circuit
        sources, readings = circuit.sources(), circuit.readings()
        applied = circuit.applied(inputs, np.clip(control, -CONTROL_LIMIT, CONTROL_LIMIT))
        volts = np.full((len(inputs), len(readings)), np.nan)
        for row, values in zip(volts, applied, strict=True):
            if not np.all(np.isfinite(values)):
                # ngspice would keep the value before, and settle.
                continue
            changed = np.flatnonzero(values != self._applied)
            commands = [f"alter {sources[place]} = {values[place]:.7g}" for place in changed]
            point = self._rest(commands)
            self._applied = values
            row[:] = [point.get(name, np.nan) for name in readings]
        state = circuit.measured(volts)
        return Measurement(state, state[:, self._description.part("output")])

    def read(self) -> Weights:
        """Reads the weights as they were written."""
        return {name: weight.copy() for name, weight in self._weights.items()}

    def write(self, changes: Weights) -> None:
        """Changes resistors, to the nearest step within the limit."""
        changed = {name: weight + changes.get(name, 0.0) for name, weight in self._weights.items()}
        weights = self._possible(changed)
        self._ngspice.ask(self._circuit.rewired(self._weights, weights))
        self._weights = weights

    def close(self) -> None:
        """Ends ngspice."""
        self._ngspice.close()

    def _rest(self, commands: list[str]) -> dict[str, float]:
        if not self._circuit.noise:
            return self._ngspice.operating_point(commands)
        return self._ngspice.mean_voltages(
            commands,
            self._circuit.readings(),
            NOISE_STEP * TIME_CONSTANT,
            (WAIT * TIME_CONSTANT, (WAIT + WINDOW) * TIME_CONSTANT),
        )

    def _possible(self, weights: Weights) -> Weights:
        possible = {}
        for connection in self._description.connections:
            limit, step = connection.limit, connection.step
            assert limit is not None
            assert step is not None
            clipped = np.clip(weights[connection.name], -limit, limit)
            possible[connection.name] = np.round(clipped / step) * step
        return possible
