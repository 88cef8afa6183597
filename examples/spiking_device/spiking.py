"""Spiking neurons of Nengo behind the protocol of devices, trained on handwritten digits.

    pip install nengo
    python examples/spiking_device/spiking.py --json results/spiking_device.json

Nengo (https://www.nengo.ai) simulates leaky integrate-and-fire neurons; nobody who wrote it knew
of this library, and the library knows nothing of Nengo. To settle is to present a sample for a
tenth of a second. The activity of a neuron is its number of spikes in units of 10, so that it comes
in coarse steps; it has no derivative. The output is a filtered sum of spikes. The membrane
potentials at the start are drawn anew in every settle, which is the noise. Weights are off by a
factor each, which nobody is told.
"""

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
from scipy import sparse

from leastcontrol import data, files
from leastcontrol.devices import (
    AbstractDevice,
    Connection,
    Description,
    DeviceLearner,
    DeviceTraining,
    LeastControlRule,
    Measurement,
    Population,
    TrainedDevice,
    classified,
    settle_all,
)
from leastcontrol.runs.origin import commit, versions

PRESENTED, SKIPPED = 0.1, 0.04
"""Seconds that a sample is presented, and after which the output is read."""
UNIT = 100.0
"""Spikes in a second that are the activity 1."""
FILTER = 0.02
"""Time constant of the output in seconds."""
THRESHOLD = 1.0
"""Input above which an integrate-and-fire neuron of Nengo spikes."""


class SpikingDevice(AbstractDevice):
    """A hidden layer of leaky integrate-and-fire neurons that Nengo simulates.

    **Arguments:** number of `inputs`, hidden neurons and `outputs`; `mismatch`, the relative
    deviation of the weights; `seed`, of the parts, the first weights and the noise.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, mismatch: float, seed: int):
        # Imported here because it is optional.
        import nengo

        self._nengo = nengo
        parts, first, self._noise = np.random.default_rng(seed).spawn(3)
        shapes = {"in": (hidden, inputs), "bias": (hidden, 1), "out": (outputs, hidden)}
        self._weights = {
            name: first.standard_normal(shape) * np.sqrt(2 / sum(shape))
            for name, shape in shapes.items()
        }
        self._weights["bias"] = np.full((hidden, 1), 0.5)
        self._factors = {n: 1 + mismatch * parts.standard_normal(s) for n, s in shapes.items()}
        self._description = Description(
            inputs,
            (Population("spiking", hidden), Population("output", outputs)),
            (
                Connection("in", "inputs", "spiking"),
                Connection("bias", "one", "spiking"),
                Connection("out", "spiking", "output"),
            ),
        )

    def describe(self) -> Description:
        return self._description

    def settle(self, inputs: np.ndarray, control: np.ndarray) -> Measurement:
        """Presents all samples at once, each to a copy of the network."""
        nengo, batch = self._nengo, len(inputs)
        weights = {name: self._factors[name] * w for name, w in self._weights.items()}
        outputs, hidden = weights["out"].shape
        current, push = control[:, :hidden] + weights["bias"][:, 0], control[:, hidden:]
        copies = sparse.identity(batch, format="csr")
        into = nengo.Sparse((batch * hidden, inputs.size), init=sparse.kron(copies, weights["in"]))
        out = nengo.Sparse(
            (batch * outputs, batch * hidden), init=sparse.kron(copies, weights["out"] / UNIT)
        )
        with nengo.Network(seed=int(self._noise.integers(2**31))) as network:
            samples = nengo.Node(inputs.ravel())
            neurons = nengo.Ensemble(
                batch * hidden,
                1,
                gain=np.ones(batch * hidden),
                bias=THRESHOLD + current.ravel(),
                neuron_type=nengo.LIF(initial_state={"voltage": nengo.dists.Uniform(0, 1)}),
            )
            read = nengo.Node(size_in=batch * outputs)
            nengo.Connection(samples, neurons.neurons, transform=into, synapse=None)
            nengo.Connection(neurons.neurons, read, transform=out, synapse=FILTER)
            spikes, voltage = nengo.Probe(neurons.neurons), nengo.Probe(read)
        with nengo.Simulator(network, progress_bar=False, optimize=False) as simulator:
            simulator.run(PRESENTED)
            rates = simulator.data[spikes].mean(axis=0).reshape(batch, hidden) / UNIT
            late = round(SKIPPED / simulator.dt)
            output = simulator.data[voltage][late:].mean(axis=0).reshape(batch, outputs) + push
        return Measurement(np.concatenate([rates, output], axis=1), output)

    def read(self) -> dict[str, np.ndarray]:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def write(self, changes: dict[str, np.ndarray]) -> None:
        for name, change in changes.items():
            self._weights[name] = self._weights[name] + change


def trained(device: AbstractDevice, splits: data.Splits, training: DeviceTraining, *, seed: int):
    """Trains a device; returns its accuracy on the test samples before and after, and its state."""
    train, validation, test = splits.train, splits.validation, splits.test
    learner = DeviceLearner(
        device, LeastControlRule(), training, train.inputs, train.targets, seed=seed
    )

    def accuracy() -> float:
        return classified(settle_all(device, test.inputs).output, test.targets).accuracy

    before, state = accuracy(), TrainedDevice.untrained(device)
    for _ in range(training.epochs):
        state = learner.epoch(state, validation.inputs, validation.targets)
        last = state.metrics[-1]
        print(
            f"epoch {last.epoch}  loss {last.loss:.3f}  validation {last.validation.accuracy:.3f}"
        )
    return before, accuracy(), state


def main() -> None:
    """Trains one device on digits, and writes what was measured."""
    parser = argparse.ArgumentParser(description="Train spiking neurons on digits.")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--mismatch", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    splits = data.load("digits")
    inputs, classes = splits.train.inputs.shape[1], splits.train.classes
    runs = []
    for seed in options.seeds:
        device = SpikingDevice(
            inputs, options.hidden, classes, mismatch=options.mismatch, seed=seed
        )
        training = DeviceTraining(options.epochs, 64, options.learning_rate)
        before, after, state = trained(device, splits, training, seed=seed)
        print(f"seed {seed}  untrained {before:.4f}  trained {after:.4f}")
        counts = state.metrics[-1].results
        runs.append(
            {
                **{"seed": seed, "untrained": before, "test_accuracy": after},
                **{"settles": state.settles, "certificate": counts},
            }
        )
    if options.json is not None:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        command = shlex.join(["python", "examples/spiking_device/spiking.py", *sys.argv[1:]])
        origin = {"command": command, "commit": commit(), "versions": versions()}
        files.write_json(options.json, {"settings": settings, "runs": runs, **origin})


if __name__ == "__main__":
    main()
