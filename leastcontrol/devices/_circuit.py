"""The circuit of `SpiceDevice`: what its netlist is, and how numbers become volts and amperes.

A hidden neuron is a differential pair of bipolar transistors with a tail current. Its base is a
node where a pair of resistors from every input and from the constant 1 meet: one from the signal,
one from its opposite, with conductances

    g± = ½ G (1 ± w / F),

whose sum is G whatever the weight w. So the base is at Σ w x up to a factor, and the difference of
the collectors, I R tanh(v / 2V_T), is the activity. Pairs of resistors from both collectors meet at
the node of an output, which is linear. Nothing is buffered: the resistors load the collectors, and
the base currents flow through the resistors before.

The unit of the base is 2V_T. Inputs are applied as voltages in whose unit a weight of F is one unit
of the base; a unit of an output is (I R / 2) / (F n) for its n pairs of resistors. The control of a
neuron is a current into its node, which moves it by as many units if nothing else does.

With noise, a current of white noise flows into every node, and a capacitor there gives the node a
time constant τ = C / G. The noise is drawn anew every NOISE_STEP τ; of a deviation

    σ_I = σ_V G √(2 / NOISE_STEP)

it moves the node by σ_V, as long as nothing else is at the node than its resistors.

What belongs to the device and is not known outside: the factor of every resistor, and the offsets
of every pair of transistors and of every output's amplifier.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ._device import INPUTS, ONE, Connection, Description, Population

BASE_UNIT = 2 * 0.0258649
"""2V_T at 27 °C, in volts."""
SUPPLY, TAIL, COLLECTOR = 5.0, 0.2e-3, 20e3
"""Supply in volts, tail current in amperes, collectors' resistors in ohms."""
SWING = TAIL * COLLECTOR
MIDDLE = SUPPLY - SWING / 2
"""Volts between the collectors at the activity 1, and of each at the activity 0."""
HIDDEN_TOTAL, OUTPUT_TOTAL = 1e-3, 2e-5
"""The sum of G over the pairs of resistors that meet at a base and at an output, in siemens."""
HIDDEN_LIMIT, OUTPUT_LIMIT = 1.0, 3.0
"""Largest absolute weights."""
REACH = 1.05
"""F divided by the largest weight, so that no resistor is infinite."""
POSITIONS = 512
"""Steps of a weight between 0 and its limit."""
CONTROL_LIMIT = 4.0
"""Largest absolute control, in units of the node that it moves."""

TIME_CONSTANT = 1e-6
"""Of a node with noise, in seconds."""
NOISE_STEP = 0.5
"""Time between two values of the noise, in time constants."""
WAIT, WINDOW = 5.0, 10.0
"""Time until a transient is looked at, and for which it is averaged then, in time constants."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """Pairs of resistors from signals to nodes of the same kind.

    * `weights`, `bias`: names of the connections that they are.
    * `signals`: the nodes of each signal and of its opposite; the last is the constant 1.
    * `nodes`: where they meet.
    * `total`: the sum of G over the pairs that meet at a node, in siemens.
    * `full`: F.
    """

    weights: str
    bias: str
    signals: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...]
    total: float
    full: float

    def resistor(self, sign: str, node: int, signal: int) -> str:
        """Names the resistor from a signal, `p`, or from its opposite, `n`, to a node."""
        return f"r{sign}_{self.nodes[node]}_{signal}"

    def resistances(
        self, weights: Float[np.ndarray, "nodes signals"]
    ) -> Float[np.ndarray, "2 nodes signals"]:
        """Computes the resistances in ohms without mismatch: from signals, and from opposites."""
        ratio = weights / self.full
        return 2 * len(self.signals) / (self.total * np.stack([1 + ratio, 1 - ratio]))


@dataclasses.dataclass(frozen=True)
class Circuit:
    """A circuit of some inputs, differential pairs and outputs.

    **Arguments:**

    * `inputs`, `pairs`, `outputs`: their numbers.
    * `factors`: of the resistances of the two layers, as `Layer.resistances` has them.
    * `pair_offsets`, `output_offsets`: in volts.
    * `noise`: standard deviation of the voltage of a node, in the unit of the node.
    """

    inputs: int
    pairs: int
    outputs: int
    factors: tuple[Float[np.ndarray, "2 pairs before"], Float[np.ndarray, "2 outputs hidden"]]
    pair_offsets: Float[np.ndarray, " pairs"]
    output_offsets: Float[np.ndarray, " outputs"]
    noise: float

    @property
    def layers(self) -> tuple[Layer, Layer]:
        """The resistors to the bases, and those to the outputs."""
        hidden = Layer(
            "inputs to hidden",
            "bias of hidden",
            (*((f"x{j}", f"nx{j}") for j in range(self.inputs)), ("one", "none")),
            tuple(f"s{i}" for i in range(self.pairs)),
            HIDDEN_TOTAL,
            REACH * HIDDEN_LIMIT,
        )
        output = Layer(
            "hidden to output",
            "bias of output",
            (*((f"b{i}", f"a{i}") for i in range(self.pairs)), ("high", "low")),
            tuple(f"y{k}" for k in range(self.outputs)),
            OUTPUT_TOTAL,
            REACH * OUTPUT_LIMIT,
        )
        return hidden, output

    @property
    def input_unit(self) -> float:
        """Volts of an input of 1."""
        hidden = self.layers[0]
        return hidden.full * len(hidden.signals) * BASE_UNIT

    @property
    def output_unit(self) -> float:
        """Volts of an output of 1."""
        output = self.layers[1]
        return SWING / 2 / (output.full * len(output.signals))

    def description(self) -> Description:
        """Describes the neurons and the weights."""
        hidden, output = self.layers
        steps = HIDDEN_LIMIT / POSITIONS, OUTPUT_LIMIT / POSITIONS
        return Description(
            self.inputs,
            (Population("hidden", self.pairs, (-1.0, 1.0)), Population("output", self.outputs)),
            (
                Connection(hidden.weights, INPUTS, "hidden", HIDDEN_LIMIT, steps[0]),
                Connection(hidden.bias, ONE, "hidden", HIDDEN_LIMIT, steps[0]),
                Connection(output.weights, "hidden", "output", OUTPUT_LIMIT, steps[1]),
                Connection(output.bias, ONE, "output", OUTPUT_LIMIT, steps[1]),
            ),
            CONTROL_LIMIT,
        )

    def netlist(self, weights: dict[str, np.ndarray]) -> str:
        """Writes the netlist, with inputs and control of 0."""
        lines = [
            "A layer of differential pairs",
            f"vcc vcc 0 {SUPPLY}",
            f"vee vee 0 {-SUPPLY}",
            f"vone one 0 {self.input_unit}",
            f"vnone none 0 {-self.input_unit}",
            f"vhigh high 0 {MIDDLE + SWING / 2}",
            f"vlow low 0 {MIDDLE - SWING / 2}",
        ]
        for j in range(self.inputs):
            lines += [f"vx{j} x{j} 0 0", f"ex{j} nx{j} 0 x{j} 0 -1"]
        for i, offset in enumerate(self.pair_offsets):
            lines += [
                f"qa{i} a{i} s{i} e{i} pair",
                f"qb{i} b{i} o{i} e{i} pair",
                f"vo{i} offset{i} 0 {offset}",
                # As much resistance as at the other base, so that the base currents cancel.
                f"ro{i} offset{i} o{i} {1 / HIDDEN_TOTAL}",
                f"it{i} e{i} vee {TAIL}",
                f"ra{i} vcc a{i} {COLLECTOR}",
                f"rb{i} vcc b{i} {COLLECTOR}",
            ]
        lines += [f"vz{k} z{k} y{k} {offset}" for k, offset in enumerate(self.output_offsets)]
        for layer, factors in zip(self.layers, self.factors, strict=True):
            lines += [f"i{node} 0 {node} 0" for node in layer.nodes]
            if self.noise:
                lines += self._noisy(layer)
            resistances = factors * layer.resistances(_joined(layer, weights))
            for node, signal in np.ndindex(resistances.shape[1:]):
                ends, ohms = layer.signals[signal], resistances[:, node, signal]
                for sign, end, value in zip("pn", ends, ohms, strict=True):
                    name = layer.resistor(sign, node, signal)
                    lines.append(f"{name} {end} {layer.nodes[node]} {value}")
        lines += [f".save v({node})" for node in self.readings()]
        lines += [".model pair npn (is=1e-15 bf=200 vaf=100)", ".options reltol=1e-4", ".end"]
        return "\n".join(lines) + "\n"

    def _noisy(self, layer: Layer) -> list[str]:
        """Writes the capacitors and the sources of noise of a layer's nodes."""
        volts = self.noise * self._unit(layer)
        amperes = volts * layer.total * np.sqrt(2 / NOISE_STEP)
        lines = []
        for node in layer.nodes:
            lines += [
                f"c{node} {node} 0 {TIME_CONSTANT * layer.total}",
                f"inoise{node} 0 {node} dc 0 trnoise({amperes} {NOISE_STEP * TIME_CONSTANT} 0 0)",
            ]
        return lines

    def _unit(self, layer: Layer) -> float:
        """Finds the volts of one unit of a layer's nodes."""
        return BASE_UNIT if layer == self.layers[0] else self.output_unit

    def rewired(self, before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
        """Lists the commands that change the resistors from some weights to others."""
        commands = []
        for layer, factors in zip(self.layers, self.factors, strict=True):
            old, new = _joined(layer, before), _joined(layer, after)
            resistances = factors * layer.resistances(new)
            for node, signal in np.argwhere(old != new).tolist():
                for sign, ohms in zip("pn", resistances[:, node, signal], strict=True):
                    commands.append(f"alter {layer.resistor(sign, node, signal)} = {ohms:.7g}")
        return commands

    def sources(self) -> tuple[str, ...]:
        """Names the sources of inputs and of control."""
        nodes = (node for layer in self.layers for node in layer.nodes)
        return (*(f"vx{j}" for j in range(self.inputs)), *(f"i{node}" for node in nodes))

    def applied(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Float[np.ndarray, "batch sources"]:
        """Computes what `sources` apply, in volts and amperes."""
        hidden, output = self.layers
        amperes = [BASE_UNIT * hidden.total, self.output_unit * output.total]
        currents = np.repeat(amperes, [self.pairs, self.outputs]) * control
        return np.concatenate([self.input_unit * inputs, currents], axis=1)

    def readings(self) -> tuple[str, ...]:
        """Names the nodes whose voltages are measured."""
        return (
            *(f"b{i}" for i in range(self.pairs)),
            *(f"a{i}" for i in range(self.pairs)),
            *(f"z{k}" for k in range(self.outputs)),
        )

    def measured(
        self, volts: Float[np.ndarray, "batch readings"]
    ) -> Float[np.ndarray, "batch neurons"]:
        """Computes activities and outputs from the voltages of `readings`."""
        high, low, output = np.split(volts, [self.pairs, 2 * self.pairs], axis=1)
        return np.concatenate([(high - low) / SWING, (output - MIDDLE) / self.output_unit], axis=1)


def _joined(layer: Layer, weights: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([weights[layer.weights], weights[layer.bias]], axis=1)
