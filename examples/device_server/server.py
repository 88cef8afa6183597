"""A device in a process of its own, which speaks the protocol over its standard input and output.

    leastcontrol device --device "process:python examples/device_server/server.py" --out run

The trainer sees bytes alone: it imports nothing of this file and knows no weight's mismatch. A
laboratory writes such a program around its own instrument: `Instrument` has the four methods of
the protocol, and `serve` does the rest. The journal keeps the weights and the number of the last
write, so that the program may be killed at any time and nothing is written twice.

    python examples/device_server/server.py [--journal FILE] [--seed SEED] [--sizes 64 24 10]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from leastcontrol.devices import (
    AbstractDevice,
    Connection,
    Description,
    Measurement,
    Population,
    serve,
)


class Instrument(AbstractDevice):
    """A noisy network with one hidden layer, whose weights are off by a factor each."""

    def __init__(self, sizes: tuple[int, int, int], seed: int):
        inputs, hidden, outputs = sizes
        parts, self._noise = np.random.default_rng(seed), np.random.default_rng()
        shapes = {"in": (hidden, inputs), "out": (outputs, hidden)}
        self._factors = {n: 1 + 0.3 * parts.standard_normal(s) for n, s in shapes.items()}
        self._weights = {n: 0.2 * parts.standard_normal(s) for n, s in shapes.items()}
        self._description = Description(
            inputs,
            (Population("hidden", hidden, (-1.0, 1.0)), Population("output", outputs)),
            (Connection("in", "inputs", "hidden"), Connection("out", "hidden", "output")),
        )

    def describe(self) -> Description:
        return self._description

    def settle(self, inputs: np.ndarray, control: np.ndarray) -> Measurement:
        hidden = len(self._weights["in"])
        weights = {name: self._factors[name] * w for name, w in self._weights.items()}
        first = np.tanh(inputs @ weights["in"].T + control[:, :hidden])
        output = first @ weights["out"].T + control[:, hidden:]
        state = np.concatenate([first, output], axis=1)
        state = state + 0.02 * self._noise.standard_normal(state.shape)
        return Measurement(state, state[:, hidden:])

    def read(self) -> dict[str, np.ndarray]:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def write(self, changes: dict[str, np.ndarray]) -> None:
        for name, change in changes.items():
            self._weights[name] = self._weights[name] + change


def main() -> None:
    """Serves the instrument until the trainer is gone."""
    parser = argparse.ArgumentParser(description="Serve a device over a pipe.")
    parser.add_argument("--journal", type=Path, help="keeps weights and the last write's number")
    parser.add_argument("--seed", type=int, default=0, help="of the instrument's parts")
    parser.add_argument("--sizes", type=int, nargs=3, default=[64, 24, 10])
    options = parser.parse_args()
    inputs, hidden, outputs = options.sizes
    instrument = Instrument((inputs, hidden, outputs), options.seed)
    serve(instrument, sys.stdin.buffer, sys.stdout.buffer, options.journal)


if __name__ == "__main__":
    main()
