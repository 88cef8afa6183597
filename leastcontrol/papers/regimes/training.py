"""The trainings of all seeds and learning rates of an arm, as one compiled program.

A **lane** is a training with its seed and learning rate. The lanes of an arm run side by side,
`CHUNK` steps at a time, so that streams of any length share a program. All arms have the same first
weights, stream and noise for a seed, so that their figures can be compared in pairs.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from ... import data
from ...equilibrium import solved
from ...rules import AbstractRule, Batch
from ...rules._strength import with_kappa
from ...systems import Feedforward, XavierNormal
from ...training import LinearCourse
from .arms import ARMS, Arm
from .measures import Asked
from .regimes import Disturbance, Setting
from .streams import CHUNK, CLASSES, NOT_ASKED, AbstractProtocol, Stream

# Images that networks are asked about: of the validation part, the test part or the training part.
ASKED_IMAGES = 1000
# The learning rate of feedback weights, by Adam, which is not tuned.
FEEDBACK_RATE = 1e-3
# Of the backpropagation that trains a network before its regime begins.
RATE_BEFORE = 1e-3


class Images(NamedTuple):
    """A part of a data set, with images of 14 × 14 pixels."""

    inputs: Float[np.ndarray, "images pixels"]
    labels: Int[np.ndarray, " images"]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a data set: to learn from, to choose by, and to be judged by."""

    train: Images
    validation: Images
    test: Images


def load_parts(name: str, data_dir: Any) -> Parts:
    """Loads a data set, with the means of 2 × 2 pixels in the place of pixels.

    **Raises:** `data.DataError`.
    """
    splits = data.load(name, data_dir=data_dir)

    def pooled(part: data.Dataset) -> Images:
        images = part.inputs.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
        return Images(2 * images.reshape(len(images), -1) - 1, part.targets)

    return Parts(*(pooled(part) for part in splits.parts().values()))


class Lanes(NamedTuple):
    """Everything that a step changes, of every lane."""

    system: Feedforward
    feedback: PyTree[Any]
    moments: PyTree[Any]
    feedback_moments: PyTree[Any]
    kappa: Float[Array, " lanes"]
    key: Array


class Trials(NamedTuple):
    """What was measured of the lanes of an arm.

    * `asked`: what the networks answered.
    * `solved`: the share of the samples that were solved.
    * `removed`: the share of the loss that was gone at rest; NaN where it is not measured.
    """

    asked: Asked
    solved: Float[np.ndarray, " lanes"]
    removed: Float[np.ndarray, " lanes"]


class Programs:
    """The compiled programs of an arm, for networks and batches of any size."""

    def __init__(self, arm: Arm):
        self._arm = arm
        self._rule: AbstractRule = arm.rule()
        self._course = None if arm.removed is None else LinearCourse(arm.removed, arm.removed)
        lanes = eqx.if_array(0)
        self._start = eqx.filter_jit(eqx.filter_vmap(self._begin, in_axes=(lanes, 0)))
        self._chunk = eqx.filter_jit(
            eqx.filter_vmap(self._steps, in_axes=(lanes, None, 0, 0, 0, None))
        )

    def trials(
        self,
        systems: Feedforward,
        seeds: Sequence[int],
        rates: Sequence[float],
        stream: Stream,
        images: Images,
        questions: Images,
        disturbance: Disturbance,
    ) -> tuple[Feedforward, Trials]:
        """Trains all lanes; returns the trained systems and what was measured.

        **Arguments:**

        * `systems`, `seeds`, `rates`: the first weights of each lane, its seed, its learning rate.
        * `stream`: the streams of the lanes, with a first axis for the lanes.
        * `images`, `questions`: what is learned from, and what is asked about.
        * `disturbance`: the noise.
        """
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        lanes = self._start(systems, keys)
        inputs = jnp.asarray(images.inputs)
        targets = np.eye(CLASSES, dtype=np.float32)[stream.labels]
        # Programs without noise compile in a fraction of the time.
        noise, weights = None, None
        if disturbance.neurons or disturbance.updates:
            noise = (jnp.asarray(disturbance.neurons), jnp.asarray(disturbance.updates))
        if disturbance.weights:
            weights = jnp.asarray(disturbance.weights)
        rates_of_lanes = jnp.asarray(rates, jnp.float32)
        steps, figures, answered = stream.images.shape[1], [], []
        for first in range(0, steps, CHUNK):
            part = slice(first, first + CHUNK)
            batches = jnp.asarray(stream.images[:, part]), jnp.asarray(targets[:, part])
            lanes, chunk = self._chunk(lanes, inputs, *batches, rates_of_lanes, noise)
            figures.append(chunk)
            if first + CHUNK in stream.asked:
                right = stream.answers[:, stream.asked.index(first + CHUNK)][:, questions.labels]
                answered.append(
                    _answers(lanes.system, keys, jnp.asarray(questions.inputs), right, weights)
                )
        accuracy, loss = (np.array([answer[place] for answer in answered]) for place in (0, 1))
        per_step = np.concatenate([np.asarray(chunk) for chunk in figures], axis=1)
        solved_share, iterations, removed = np.moveaxis(per_step, 2, 0)
        passes = self._arm.passes + self._arm.passes_per_iteration * iterations.mean(axis=1)
        with np.errstate(invalid="ignore"):
            means = solved_share.mean(axis=1), removed.mean(axis=1)
        return lanes.system, Trials(Asked(stream.asked, accuracy, loss, passes), *means)

    def _begin(self, system: Feedforward, key: Array) -> Lanes:
        feedback_key, key = jax.random.split(key)
        feedback = self._rule.init(system, key=feedback_key)
        learned = eqx.filter(system, eqx.is_inexact_array)
        kappa = jnp.ones(()) if self._course is None else self._course.first_kappa()
        adam = optax.scale_by_adam()
        return Lanes(system, feedback, adam.init(learned), adam.init(feedback), kappa, key)

    def _steps(
        self,
        lanes: Lanes,
        inputs: Float[Array, "images pixels"],
        images: Int[Array, "steps batch"],
        targets: Float[Array, "steps batch classes"],
        rate: Float[Array, ""],
        noise: tuple[Float[Array, ""], Float[Array, ""]] | None,
    ) -> tuple[Lanes, Float[Array, "steps figures"]]:
        arrays, static = eqx.partition(lanes, eqx.is_array)

        def step(arrays: PyTree, batch: tuple[Array, Array]) -> tuple[PyTree, Array]:
            chosen, taught = batch
            after, figures = self._step(
                eqx.combine(arrays, static), Batch(inputs[chosen], taught), rate, noise
            )
            return eqx.filter(after, eqx.is_array), figures

        arrays, figures = jax.lax.scan(step, arrays, (images, targets))
        return eqx.combine(arrays, static), figures

    def _step(
        self,
        lane: Lanes,
        batch: Batch,
        rate: Float[Array, ""],
        noise: tuple[Float[Array, ""], Float[Array, ""]] | None,
    ) -> tuple[Lanes, Float[Array, " figures"]]:
        key, rule_key, neuron_key, update_key = jax.random.split(lane.key, 4)
        rule = self._rule if self._course is None else with_kappa(self._rule, lane.kappa)
        system = lane.system
        if noise is not None:
            system = _with_noisy_neurons(system, noise[0], neuron_key)
        credit = rule(system, lane.feedback, batch, key=rule_key)
        measure = self._rule.aspects.removed
        removed = jnp.asarray(jnp.nan)
        if measure is not None:
            removed = measure(system, batch, credit)
        kappa = lane.kappa
        if self._course is not None:
            kappa = self._course.adjusted(kappa, removed, jnp.zeros(()))
        gradient = credit.gradient
        if noise is not None:
            # The same for all lanes, so that arrays are disturbed only where they are asked to be.
            gradient = jax.lax.cond(
                noise[1] > 0,
                lambda slope: _with_noise(slope, noise[1], update_key),
                lambda slope: slope,
                gradient,
            )
        adam = optax.scale_by_adam()
        moments, feedback, feedback_moments = lane.moments, lane.feedback, lane.feedback_moments
        if self._arm.adam:
            gradient, moments = adam.update(gradient, moments)
        if credit.feedback_gradient is not None:
            change, feedback_moments = adam.update(credit.feedback_gradient, feedback_moments)
            feedback = jax.tree.map(lambda w, d: w - FEEDBACK_RATE * d, feedback, change)
        learned = eqx.apply_updates(
            lane.system, jax.tree.map(lambda slope: -rate * slope, gradient)
        )
        figures = jnp.stack(
            [
                jnp.mean(solved(credit.solution), dtype=jnp.float32),
                jnp.mean(credit.solution.stats.steps, dtype=jnp.float32),
                removed,
            ]
        )
        return Lanes(learned, feedback, moments, feedback_moments, kappa, key), figures


def _with_noisy_neurons(
    system: Feedforward, deviation: Float[Array, ""], key: Array
) -> Feedforward:
    """Adds normal noise to the drive of every neuron, the output neurons included."""
    biases = lambda net: [layer.bias for layer in net.layers]  # noqa: E731
    noisy = [
        bias + deviation * jax.random.normal(layer_key, bias.shape)
        for layer_key, bias in zip(
            jax.random.split(key, len(system.layers)), biases(system), strict=True
        )
    ]
    return eqx.tree_at(biases, system, noisy)


def _with_noise(tree: PyTree, scale: Float[Array, ""], key: Array) -> PyTree:
    """Adds normal noise to every array, in units of its root mean square."""
    arrays, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(arrays))
    noisy = [
        leaf + scale * jnp.sqrt(jnp.mean(leaf**2)) * jax.random.normal(leaf_key, leaf.shape)
        for leaf_key, leaf in zip(keys, arrays, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


@eqx.filter_jit
@functools.partial(eqx.filter_vmap, in_axes=(eqx.if_array(0), 0, None, 0, None))
def _answers(
    system: Feedforward,
    key: Array,
    inputs: Float[Array, "images pixels"],
    right: Int[Array, " images"],
    weights: Float[Array, ""] | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes the accuracy and the loss over the images that are asked for."""
    if weights is not None:
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)
        system = eqx.combine(_with_noise(learned, weights, key), fixed)

    def output(x: Array) -> Array:
        drive = system.drive(x)
        silent = jax.tree.map(jnp.zeros_like, system.initial_state(drive))
        return system.readout(system.settle(drive, silent))

    outputs = jax.vmap(output)(inputs)
    asked = right != NOT_ASKED
    losses = jnp.sum((outputs - jax.nn.one_hot(right, CLASSES)) ** 2, axis=1) / 2
    correct = (jnp.argmax(outputs, axis=1) == right) & jnp.all(jnp.isfinite(outputs), axis=1)
    return jnp.mean(correct, where=asked), jnp.mean(losses, where=asked)


class Laboratory:
    """Trains arms under settings, and keeps what they share: data, programs, first weights.

    **Arguments:** `data_dir`, the folder of the data sets, if they are not in the default one.
    """

    def __init__(self, data_dir: Any = None):
        self._parts = functools.cache(functools.partial(load_parts, data_dir=data_dir))
        self._programs: dict[str, Programs] = {}
        self._before: dict[Any, Feedforward] = {}

    def trials(
        self,
        setting: Setting,
        arm: Arm,
        seeds: Sequence[int],
        rates: Sequence[float],
        *,
        tuning: bool,
    ) -> Trials:
        """Trains an arm for each pair of a seed and a learning rate.

        When it is tuned it is asked about validation images, else about test images.

        **Raises:** `data.DataError`.
        """
        parts = self._parts(setting.data)
        systems = self._first(setting, seeds)
        questions = parts.validation if tuning else parts.test
        if setting.measure.on_training_images:
            questions = parts.train
        _, trials = self._of(arm).trials(
            systems,
            seeds,
            rates,
            _streams(setting.protocol, parts.train, seeds),
            parts.train,
            Images(questions.inputs[:ASKED_IMAGES], questions.labels[:ASKED_IMAGES]),
            setting.disturbance,
        )
        return trials

    def _of(self, arm: Arm) -> Programs:
        return self._programs.setdefault(arm.name, Programs(arm))

    def _first(self, setting: Setting, seeds: Sequence[int]) -> Feedforward:
        """Draws the first weights for each seed, and trains them before, if they are to be."""
        parts = self._parts(setting.data)
        pixels = parts.train.inputs.shape[1]

        def draw(key: Array) -> Feedforward:
            return Feedforward(
                pixels, setting.hidden, CLASSES, initialisation=XavierNormal(), key=key
            )

        place = setting.hidden, setting.before, setting.data, tuple(seeds)
        if place not in self._before:
            keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
            systems = eqx.filter_vmap(draw)(keys)
            if setting.before is not None:
                systems, _ = self._of(ARMS[0]).trials(
                    systems,
                    seeds,
                    [RATE_BEFORE] * len(seeds),
                    _streams(setting.before, parts.train, [1000 + seed for seed in seeds]),
                    parts.train,
                    Images(parts.train.inputs[:1], parts.train.labels[:1]),
                    Disturbance(),
                )
            self._before[place] = systems
        return self._before[place]


def _streams(protocol: AbstractProtocol, images: Images, seeds: Sequence[int]) -> Stream:
    """Draws the streams of all lanes, along a first axis."""
    streams = {
        seed: protocol.stream(images.labels, np.random.Generator(np.random.PCG64(seed)))
        for seed in dict.fromkeys(seeds)
    }
    lanes = [streams[seed] for seed in seeds]
    return Stream(
        np.stack([lane.images for lane in lanes]),
        np.stack([lane.labels for lane in lanes]),
        lanes[0].asked,
        np.stack([lane.answers for lane in lanes]),
    )
