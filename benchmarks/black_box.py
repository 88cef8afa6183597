"""Learns on a simulated device whose equations the learner never sees.

    python benchmarks/black_box.py --json results/black-box.json

The device is a noisy analogue network for the digits, in plain NumPy, so that nothing can be
differentiated. Its synapses and neurons are not what they are programmed to be: every weight,
feedback weights included, is off by a factor of its own, and every neuron has a slope and a
threshold of its own. A leaky controller drives its output to the label, strong and in one phase, as
in arXiv 2204.07249. What the learner gets are measurements, summed while the device runs:

* ⟨v_fb r_{i−1}ᵀ⟩ and ⟨v_fb⟩, the apical voltage of each neuron times the rate before it;
* ⟨v_fb zᵀ⟩, the same times the control less its running mean;
* the class whose output is largest without control.

Three ways to learn are compared on the same devices: feedback learned from the device's own noise;
the same feedback frozen at its random start; and backpropagation through the equations that the
device should have, its weights then programmed into the device.
"""

import argparse
import dataclasses
import statistics
from pathlib import Path

import jax
import numpy as np
import optax
from _origin import origin

import leastcontrol as lc
from leastcontrol import data, files, training

SIZES = (64, 32, 32, 10)
TIME_STEP, POINTS, VOLTAGE, NOISE_TIME, FILTER = 0.1, 120, 0.2, 0.2, 1.0
LEAK, GAIN, SOFTNESS = 0.01, 1.0, 0.05
DECAY = 0.02


@dataclasses.dataclass
class Measured:
    """What one presentation of a batch leaves: means over time and over the batch."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    feedback: list[np.ndarray]
    error_ratio: float


class Device:
    """A network that is programmed with weights and answers with measurements alone."""

    def __init__(self, mismatch: float, noise: float, seed: int):
        self._rng = np.random.default_rng(seed)
        pairs = list(zip(SIZES[1:], SIZES, strict=False))
        deviate = lambda shape: 1 + mismatch * self._rng.standard_normal(shape)  # noqa: E731
        self._weight_factors = [deviate(pair) for pair in pairs]
        self._feedback_factors = [deviate((after, SIZES[-1])) for after, _ in pairs]
        self._slopes = [deviate(after) for after, _ in pairs[:-1]]
        self._thresholds = [mismatch * self._rng.standard_normal(after) for after, _ in pairs[:-1]]
        self._noise = noise

    def program(self, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
        """Writes the forward weights."""
        self._weights = [own * w for own, w in zip(self._weight_factors, weights, strict=True)]
        self._biases = biases

    def program_feedback(self, feedback: list[np.ndarray]) -> None:
        """Writes the feedback weights."""
        self._feedback = [own * q for own, q in zip(self._feedback_factors, feedback, strict=True)]

    def _rates(self, voltages: list[np.ndarray]) -> list[np.ndarray]:
        known = zip(voltages, self._slopes, self._thresholds, strict=False)
        return [np.tanh(slope * (v - threshold)) for v, slope, threshold in known]

    def _settled(self, inputs: np.ndarray) -> list[np.ndarray]:
        voltages, rate = [], inputs
        for weight, bias in zip(self._weights, self._biases, strict=True):
            voltages.append(rate @ weight.T + bias)
            if len(voltages) < len(self._weights):
                rate = self._rates(voltages)[-1]
        return voltages

    def classify(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the class of the largest output, without control and noise."""
        return self._settled(inputs)[-1].argmax(axis=1)

    def run(self, inputs: np.ndarray, targets: np.ndarray) -> Measured:
        """Holds the output at target probabilities for a while, in noise, and measures."""
        voltages = self._settled(inputs)
        noise = [np.zeros_like(v) for v in voltages]
        integral = np.zeros_like(targets)
        mean = None
        control = np.zeros_like(targets)
        weights = [np.zeros_like(own) for own in self._weights]
        biases = [np.zeros_like(own) for own in self._biases]
        feedback = [np.zeros_like(own) for own in self._feedback]
        share = TIME_STEP / NOISE_TIME
        # Of unit deviation once it is stationary.
        kick = np.sqrt(1 - (1 - share) ** 2)
        apical = [np.zeros_like(v) for v in voltages]
        first = error = targets - _softmax(voltages[-1])
        for _ in range(POINTS):
            error = targets - _softmax(voltages[-1])
            integral = integral + TIME_STEP * (error - LEAK * control)
            control = integral + GAIN * error
            mean = control if mean is None else mean + TIME_STEP / FILTER * (control - mean)
            for product, own in zip(feedback, apical, strict=True):
                product += own.T @ (control - mean)
            rates = [inputs, *self._rates(voltages)]
            for index, q in enumerate(self._feedback):
                drawn = self._rng.standard_normal(noise[index].shape)
                noise[index] = (1 - share) * noise[index] + kick * drawn
                apical[index] = control @ q.T + self._noise * noise[index]
                basal = rates[index] @ self._weights[index].T + self._biases[index]
                change = basal + apical[index] - voltages[index]
                voltages[index] = voltages[index] + TIME_STEP / VOLTAGE * change
                weights[index] += apical[index].T @ rates[index]
                biases[index] += apical[index].sum(axis=0)
        norm = POINTS * len(inputs)
        return Measured(
            [own / norm for own in weights],
            [own / norm for own in biases],
            [own / norm for own in feedback],
            float(np.linalg.norm(error, axis=1).mean() / np.linalg.norm(first, axis=1).mean()),
        )


def _softmax(outputs: np.ndarray) -> np.ndarray:
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def first_weights(seed: int):
    """Returns weights, biases and random feedback weights to begin with."""
    rng = np.random.default_rng(seed)
    pairs = list(zip(SIZES[1:], SIZES, strict=False))
    weights = [rng.standard_normal(pair) * np.sqrt(2 / sum(pair)) for pair in pairs]
    biases = [np.zeros(after) for after, _ in pairs]
    hidden = [(after, SIZES[-1]) for after, _ in pairs[:-1]]
    feedback = [rng.standard_normal(shape) * np.sqrt(2 / sum(shape)) for shape in hidden]
    return weights, biases, [*feedback, np.eye(SIZES[-1])]


def batches(splits: data.Splits, epochs: int, size: int, seed: int):
    """Yields the inputs and labels of every step."""
    rng = np.random.default_rng(seed)
    train = splits.train
    for _ in range(epochs):
        order = rng.permutation(len(train))
        for at in range(0, len(train) - size + 1, size):
            own = order[at : at + size]
            yield train.inputs[own].astype(np.float64), train.targets[own]


def on_the_device(device: Device, splits: data.Splits, options, seed: int, *, learned: bool):
    """Learns from measurements; returns accuracy on the device and what control reached."""
    weights, biases, feedback = first_weights(seed)
    steps = options.epochs * (len(splits.train) // options.batch_size)
    forward = optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps, alpha=0.01))
    backward = optax.adam(
        optax.cosine_decay_schedule(options.feedback_learning_rate, steps, alpha=0.01)
    )
    states = forward.init((weights, biases)), backward.init(feedback)
    forward_step, backward_step = (jax.jit(own.update) for own in (forward, backward))
    ratio = np.nan
    for inputs, labels in batches(splits, options.epochs, options.batch_size, seed):
        device.program(weights, biases)
        device.program_feedback(feedback)
        targets = np.full((len(labels), SIZES[-1]), SOFTNESS / (SIZES[-1] - 1))
        targets[np.arange(len(labels)), labels] = 1 - SOFTNESS
        measured = device.run(inputs, targets)
        ratio = measured.error_ratio
        ascent = jax.tree.map(np.negative, (measured.weights, measured.biases))
        updates, own = forward_step(ascent, states[0])
        weights, biases = _added((weights, biases), updates)
        states = own, states[1]
        if learned:
            scale = 1 / options.noise**2
            gradient = [
                scale * product + DECAY * q
                for product, q in zip(measured.feedback, feedback, strict=True)
            ]
            updates, own = backward_step(gradient, states[1])
            feedback = _added(feedback, updates)
            states = states[0], own
    device.program(weights, biases)
    return _accuracy(device, splits), ratio


def through_the_equations(device: Device, splits: data.Splits, options, seed: int):
    """Trains the network that the device should be, and programs the device with it."""
    network = lc.Feedforward(
        SIZES[0], SIZES[1:-1], SIZES[-1], initialisation=lc.XavierNormal(), key=jax.random.key(seed)
    )
    config = training.TrainingConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        final_learning_rate=options.learning_rate / 100,
    )
    trained = training.train(
        network, lc.Backpropagation(), splits.train, splits.validation, config, seed=seed
    )
    layers = trained.system.layers
    device.program(
        [np.asarray(layer.weight, np.float64) for layer in layers],
        [np.asarray(layer.bias, np.float64) for layer in layers],
    )
    return _accuracy(device, splits), training.evaluate(trained.system, splits.test).accuracy


def _added(values, updates):
    return jax.tree.map(
        lambda value, update: value + np.asarray(update, np.float64), values, updates
    )


def _accuracy(device: Device, splits: data.Splits) -> float:
    found = device.classify(splits.test.inputs.astype(np.float64))
    return float(np.mean(found == splits.test.targets))


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description="Learn on a device that is a black box.")
    parser.add_argument("--mismatch", type=float, default=0.3, help="relative deviation of parts")
    parser.add_argument("--noise", type=float, default=0.1, help="of the apical voltages")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--feedback-learning-rate", type=float, default=2e-3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    splits, made = data.load("digits"), origin()
    rows = []
    for seed in options.seeds:
        make = lambda seed=seed: Device(options.mismatch, options.noise, 1000 + seed)  # noqa: E731
        learned, ratio = on_the_device(make(), splits, options, seed, learned=True)
        frozen, _ = on_the_device(make(), splits, options, seed, learned=False)
        programmed, ideal = through_the_equations(make(), splits, options, seed)
        rows.append(
            {
                "seed": seed,
                "learned feedback": learned,
                "error ratio with learned feedback": ratio,
                "random feedback": frozen,
                "backpropagation, programmed": programmed,
                "backpropagation, without a device": ideal,
            }
        )
        print(rows[-1], flush=True)
    names = [name for name in rows[0] if name != "seed"]
    mean = {name: statistics.mean(row[name] for row in rows) for name in names}
    print("mean", mean)
    if options.json is not None:
        settings = {k: v for k, v in vars(options).items() if k != "json"}
        constants = {
            "sizes": SIZES,
            "time_step": TIME_STEP,
            "points": POINTS,
            "voltage_time_constant": VOLTAGE,
            "noise_time_constant": NOISE_TIME,
            "filter_time_constant": FILTER,
            "leak": LEAK,
            "proportional_gain": GAIN,
            "softness": SOFTNESS,
            "feedback_decay": DECAY,
        }
        files.write_json(
            options.json,
            {
                "settings": {**settings, **constants},
                "runs": rows,
                "mean": mean,
                **made,
            },
        )


if __name__ == "__main__":
    main()
