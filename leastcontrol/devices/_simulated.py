"""A simulated network of neurons, with the difficulties of hardware as options.

The voltages of a layered network settle as v_i = W_i r_{i−1} + b_i + g_i ψ_i, with activities
r_i = tanh(s_i (v_i − θ_i)) and a linear output. Every weight, slope s, threshold θ and gain g of a
control line is off by an amount that belongs to the device, and neither `read` nor `describe`
tells it.
"""

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ._device import (
    INPUTS,
    ONE,
    AbstractDevice,
    Connection,
    Description,
    Measurement,
    Memory,
    Population,
    Weights,
)
from ._twins import NetworkTwin, Peculiarities

if TYPE_CHECKING:
    from ._network import Chain

SECONDS_PER_SAMPLE = 1e-3
"""Time that a sample takes to settle, by which weights drift."""


@dataclasses.dataclass(frozen=True)
class Difficulties:
    """What is wrong with a simulated device.

    **Arguments:**

    * `mismatch`: m; weights are multiplied by 1 + mξ, slopes and gains of control lines by
      exp(mξ), and thresholds are mξ, with ξ ∼ N(0, 1) for each of them.
    * `noise`: standard deviation of the noise in every voltage.
    * `reading_noise`: that of every reading; `None` for `noise`.
    * `write_step`: smallest change of a weight; 0 for any.
    * `write_asymmetry`: a; increases are 1 + aξ and decreases 1 − aξ times what was asked, with one
      ξ for each weight.
    * `weight_limit`: largest absolute weight; infinite for none.
    * `drift`: relative deviation by which every weight wanders in a minute of device time, of which
      a sample takes a millisecond.
    * `dead_units`: number of hidden neurons whose activity is always 0.
    * `control_limit`: largest absolute control of a line; infinite for none.
    * `settling_time`: time after which is measured, in time constants of a voltage, where a layer
      sees the one before a fifth of a time constant late; infinite for rest. While the inputs stay
      as they are, a settle goes on from where the last one ended; other inputs find silent neurons.
    * `delay`: time by which readings are late, in time constants of a voltage, rounded to a fifth:
      what is read is the state of so long before, perhaps that under the control before. It needs
      a settling time.

    **Raises:** `ValueError` for a value out of range, or a delay without a settling time.
    """

    mismatch: float = 0.0
    noise: float = 0.0
    reading_noise: float | None = None
    write_step: float = 0.0
    write_asymmetry: float = 0.0
    weight_limit: float = math.inf
    drift: float = 0.0
    dead_units: int = 0
    control_limit: float = math.inf
    settling_time: float = math.inf
    delay: float = 0.0

    def __post_init__(self):
        for name in (
            *("mismatch", "noise", "write_step", "write_asymmetry", "drift", "dead_units"),
            "delay",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is finite and at least 0: write "
                    f"Difficulties({name}=0)."
                )
        for name in ("weight_limit", "control_limit", "settling_time"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is above 0: write "
                    f"Difficulties({name}=1)."
                )
        if self.delay and self.settling_time == math.inf:
            raise ValueError(
                f"`delay` is {self.delay}, but at rest nothing is late, and the settling time is "
                f"infinite: write Difficulties(settling_time=20, delay={self.delay})."
            )


class SimulatedDevice(AbstractDevice):
    """A layered network with the difficulties of hardware.

    **Arguments:**

    * `inputs`, `hidden`, `outputs`: number of inputs, of neurons in each hidden layer, of outputs.
    * `difficulties`: what is wrong with it.
    * `seed`: of its parts, its noise and its first weights.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        difficulties: Difficulties,
        *,
        seed: int,
    ):
        # Imported here because the import is slow, and programs that serve a device do without.
        from . import _network

        self._network = _network
        self.difficulties = difficulties
        time = difficulties.settling_time
        self._steps = None if time == math.inf else math.ceil(time / _network.EULER_STEP)
        self._lag = round(difficulties.delay / _network.EULER_STEP)
        self._under_way: tuple[np.ndarray, Chain] | None = None
        sizes = (inputs, *hidden, outputs)
        names = [INPUTS, *(f"hidden {place + 1}" for place in range(len(hidden))), "output"]
        limit = None if difficulties.weight_limit == math.inf else difficulties.weight_limit
        connections = []
        for before, after in itertools.pairwise(names):
            step = difficulties.write_step or None
            connections.append(Connection(f"{before} to {after}", before, after, limit, step))
            connections.append(Connection(f"bias of {after}", ONE, after, limit, step))
        populations = [
            *(Population(n, s, (-1.0, 1.0)) for n, s in zip(names[1:-1], hidden, strict=True)),
            Population(names[-1], outputs),
        ]
        control = None if difficulties.control_limit == math.inf else difficulties.control_limit
        self._description = Description(inputs, tuple(populations), tuple(connections), control)
        parts, first = np.random.default_rng([seed, 0]).spawn(2)
        self._seed, self._settles = seed, 0
        mismatch = difficulties.mismatch
        shapes = {each.name: self._description.shape(each) for each in connections}
        self._factors = {
            name: 1 + mismatch * parts.standard_normal(shape) for name, shape in shapes.items()
        }
        self._slants = {name: parts.standard_normal(shape) for name, shape in shapes.items()}
        gains = [np.exp(mismatch * parts.standard_normal(size)) for size in sizes[1:]]
        slopes = [np.exp(mismatch * parts.standard_normal(size)) for size in hidden]
        thresholds = [mismatch * parts.standard_normal(size) for size in hidden]
        alive = np.ones(sum(hidden))
        if difficulties.dead_units:
            dead = parts.choice(len(alive), min(difficulties.dead_units, len(alive)), False)
            alive[dead] = 0
        splits = np.cumsum(hidden)[:-1]
        self._neurons = self._network.Neurons(gains, slopes, thresholds, np.split(alive, splits))
        self._weights = {
            each.name: np.zeros(shapes[each.name])
            if each.before == ONE
            else first.standard_normal(shapes[each.name]) * math.sqrt(2 / sum(shapes[each.name]))
            for each in connections
        }
        reading = difficulties.reading_noise
        noise = difficulties.noise
        self._noise = (noise, noise if reading is None else reading)

    def describe(self) -> Description:
        """Describes the layers, without what is wrong with them."""
        return self._description

    def settle(
        self, inputs: Float[np.ndarray, "batch inputs"], control: Float[np.ndarray, "batch neurons"]
    ) -> Measurement:
        """Settles all layers, or follows them for the settling time, and reads them with noise."""
        inputs = np.asarray(inputs, np.float64)
        limit = self.difficulties.control_limit
        self._wander(len(inputs) * SECONDS_PER_SAMPLE / 60)
        effective = [
            (self._effective(weight.name), self._effective(bias.name)[:, 0])
            for weight, bias in zip(*[iter(self._description.connections)] * 2, strict=True)
        ]
        applied = np.clip(control, -limit, limit)
        state, output, chain = self._network.settled(
            self._neurons,
            effective,
            self._noise,
            inputs,
            applied,
            self._seed,
            self._settles,
            self._steps,
            self._begun(inputs),
        )
        self._under_way = None if chain is None else (inputs.copy(), chain)
        self._settles += 1
        return Measurement(np.asarray(state, np.float64), np.asarray(output, np.float64))

    def read(self) -> Weights:
        """Reads the weights as they were written."""
        return {name: weight.copy() for name, weight in self._weights.items()}

    def write(self, changes: Weights) -> None:
        """Writes changes, in steps and up to the limit, more in one direction than in the other."""
        difficulties = self.difficulties
        for name, change in changes.items():
            if difficulties.write_step:
                change = np.round(change / difficulties.write_step) * difficulties.write_step
            slant = difficulties.write_asymmetry * self._slants[name] * np.sign(change)
            limit = difficulties.weight_limit
            self._weights[name] = np.clip(self._weights[name] + (1 + slant) * change, -limit, limit)

    def memory(self) -> Memory:
        """Collects what changes over time, from which a device of the same seed can go on.

        Samples that are under way are none of it: their next settle begins with silent neurons.
        """
        kept = {f"weights of {name}": weight for name, weight in self._weights.items()}
        kept |= {f"factors of {name}": factor for name, factor in self._factors.items()}
        return {**kept, "settles": np.asarray(float(self._settles))}

    def remember(self, memory: Memory) -> None:
        """Goes on from a memory: weights, drift and noise are those that would have followed."""
        self._settles, self._under_way = int(memory["settles"]), None
        for name in self._weights:
            self._weights[name] = memory[f"weights of {name}"].copy()
            self._factors[name] = memory[f"factors of {name}"].copy()

    def twin(self, known: float) -> NetworkTwin:
        """Makes a model that knows a part of the mismatch, as it is now.

        **Arguments:** `known`, from 0 for a model of the description to 1 for one that is exact;
        in between are the parts of the deviations of factors, and of the logarithms of gains and
        slopes.
        """
        gains, slopes, _, alive = (np.concatenate(part) for part in self._neurons[:4])
        outputs = np.ones(self._description.outputs)
        alive = known * alive + (1 - known)
        factors = {name: 1 + known * (factor - 1) for name, factor in self._factors.items()}
        return NetworkTwin(
            self._description,
            Peculiarities(factors, gains**known, np.concatenate([alive * slopes**known, outputs])),
        )

    def true_response(
        self, inputs: Float[np.ndarray, "batch inputs"]
    ) -> Float[np.ndarray, "outputs neurons"]:
        """Computes the mean derivative of the output with respect to the control lines.

        No learner uses it; it is what learned feedback is compared with.
        """
        gains, slopes, thresholds, alive = self._neurons
        pairs = list(zip(*[iter(self._description.connections)] * 2, strict=True))
        rates, derivatives = [inputs], []
        for place, (weight, bias) in enumerate(pairs):
            v = rates[-1] @ self._effective(weight.name).T + self._effective(bias.name)[:, 0]
            if place < len(slopes):
                r = alive[place] * np.tanh(slopes[place] * (v - thresholds[place]))
                derivatives.append(alive[place] * slopes[place] * (1 - r**2))
                rates.append(r)
        outputs = self._description.outputs
        back = np.broadcast_to(np.eye(outputs), (len(inputs), outputs, outputs))
        blocks = [np.mean(back, axis=0) * gains[-1]]
        for place in reversed(range(len(slopes))):
            back = back @ self._effective(pairs[place + 1][0].name) * derivatives[place][:, None, :]
            blocks.insert(0, np.mean(back, axis=0) * gains[place])
        return np.concatenate(blocks, axis=1)

    def _begun(self, inputs: np.ndarray) -> "Chain | None":
        """Finds where the samples are: where the last settle left them, if it was of the same."""
        if self._steps is None:
            return None
        if self._under_way is not None and np.array_equal(self._under_way[0], inputs):
            return self._under_way[1]
        return self._network.silent(self._neurons, len(inputs), self._lag)

    def _effective(self, name: str) -> np.ndarray:
        return self._weights[name] * self._factors[name]

    def _wander(self, minutes: float) -> None:
        if self.difficulties.drift:
            deviation = self.difficulties.drift * math.sqrt(minutes)
            # One for each settle, so that a device can be continued.
            random = np.random.default_rng([self._seed, 1, self._settles])
            for name, factor in self._factors.items():
                self._factors[name] = factor + deviation * random.standard_normal(factor.shape)
