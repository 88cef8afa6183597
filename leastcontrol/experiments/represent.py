"""Implicit representations: a network for each picture, that gives a colour for a coordinate.

A run of several pictures is a folder: `config.json`, `metrics.jsonl` with a line for each look at a
network, `summary.json`, the weights of every picture's network, and the figures of
`_represent_figures`.

The quality is the peak signal-to-noise ratio, −10 log₁₀ of the mean squared error of pixels that
were not trained on, in dB.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from .. import data, training
from ..controllers import DynamicInversion, LeakyIntegral
from ..equilibrium import FixedPoint, Tolerance, free_equilibrium, solved
from ..losses import SquaredError
from ..rules import AbstractRule, Batch, LeastControl, RecurrentBackpropagation
from ..systems import ImplicitRepresentation
from . import running
from ._represent_figures import draw_representations
from .config import ConfigError
from .represent_config import RepresentConfig

# Red, green and blue.
COLOURS = 3
# Steps of a free equilibrium that is looked at; more than training takes, for it is not timed.
LOOKING = FixedPoint(max_steps=400)


@dataclasses.dataclass(frozen=True)
class Look:
    """A network as it is after some steps.

    * `psnr_train`, `psnr_test`: in dB, of the pixels to train and of the others.
    * `loss`, `control_norm`, `converged_fraction`, `residual_median`, `solve_steps`: means, and the
      median of a pixel's residual as a multiple of what is allowed, over the steps before.
    * `step_ms`: wall time of a step.
    """

    image: str
    step: int
    psnr_train: float
    psnr_test: float
    loss: float
    control_norm: float
    converged_fraction: float
    residual_median: float
    solve_steps: float
    step_ms: float


@dataclasses.dataclass(frozen=True, eq=False)
class Represented:
    """A picture, its network and how that came about.

    * `whole`: the network's picture at all pixels, of the picture's shape.
    * `unfolding`: the picture read from the free dynamics' state after `unfolding_steps` steps.
    """

    picture: data.Picture
    system: ImplicitRepresentation
    looks: tuple[Look, ...]
    whole: np.ndarray
    unfolding_steps: tuple[int, ...]
    unfolding: tuple[np.ndarray, ...]


Report = Callable[[Look], None]


class RepresentError(RuntimeError):
    """A picture cannot be learned further; the message says what to change."""


def psnr(outputs: np.ndarray, colours: np.ndarray) -> float:
    """Returns −10 log₁₀ of the mean squared error, in dB, for colours from 0 to 1."""
    error = float(np.mean((outputs.astype(np.float64) - colours) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def build_rule(config: RepresentConfig) -> AbstractRule:
    """Returns a configuration's rule."""
    solver = FixedPoint(max_steps=config.max_steps)
    tolerance = Tolerance(relative=config.tolerance)
    unsolved = running.UNSOLVED[config.unsolved]()
    if config.rule == "recurrent-backpropagation":
        return RecurrentBackpropagation(SquaredError(), tolerance, solver, unsolved)
    controller = DynamicInversion(tolerance, solver)
    return LeastControl(
        controller, LeakyIntegral(config.alpha), loss=SquaredError(), unsolved=unsolved
    )


def build_network(config: RepresentConfig, channels: int) -> ImplicitRepresentation:
    """Returns a configuration's network as it is before training."""
    return ImplicitRepresentation(
        2,
        config.hidden,
        channels,
        frequency=config.frequency,
        activation=running.ACTIVATIONS[config.activation],
        key=jax.random.key(config.seed),
    )


def run_representations(
    config: RepresentConfig,
    out: Path,
    *,
    command: str | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Represents every picture of a configuration into a new folder and returns its summary.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError`, and `RepresentError` where
    a network's loss is no longer finite.
    """
    config.check()
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "represent draws what it has found with Matplotlib: run pip install "
            "'leastcontrol[plot]'."
        )
    # All of them before one of them is learned.
    pictures = [data.read_picture(name, size=config.size) for name in config.images]
    origin = {"command": command, "commit": running.commit(), "versions": running.versions()}
    with training.RunFolder.held(out, resume=False) as folder:
        training.write_json(out / "config.json", {"verb": "represent", **config.as_json()})

        def done(look: Look) -> None:
            folder.append_metrics(dataclasses.asdict(look))
            if report is not None:
                report(look)

        began = time.perf_counter()
        learner, found = Learner(config), []
        for number, picture in enumerate(pictures, start=1):
            own = represent(learner, picture, report=done)
            folder.save_weights(f"picture-{number}", own.system)
            found.append(own)
        seconds = time.perf_counter() - began
        draw_representations(found, out)
        summary = {
            **_figures(found),
            "seconds": seconds,
            "pictures": [
                {
                    "image": own.picture.name,
                    "checksums": dict(own.picture.provenance.checksums),
                    **{n: v for n, v in dataclasses.asdict(own.looks[-1]).items() if n != "image"},
                }
                for own in found
            ],
            "config": config.as_json(),
            **origin,
        }
        training.write_json(out / "summary.json", summary)
    return summary


def _figures(found: list[Represented]) -> dict[str, Any]:
    """Returns means over the pictures, of all and by kind, with their deviation."""
    groups: dict[str, list[float]] = {"all": []}
    for own in found:
        value = own.looks[-1].psnr_test
        groups["all"].append(value)
        groups.setdefault(own.picture.name.split("-")[0].split(":")[0], []).append(value)
    looks = [look for own in found for look in own.looks]
    return {
        "psnr_test": {
            name: {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "count": len(values),
            }
            for name, values in groups.items()
        },
        "converged_fraction": statistics.fmean(look.converged_fraction for look in looks),
        "solve_steps": statistics.fmean(look.solve_steps for look in looks),
        "step_ms_median": statistics.median(look.step_ms for look in looks),
    }


class Learner:
    """The compiled training of a configuration, the same for all of its pictures."""

    def __init__(self, config: RepresentConfig):
        self.config = config
        rule = build_rule(config)
        adam = optax.adam(config.learning_rate)
        if config.gradient_clip is not None:
            adam = optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)
        learned, self.fixed = eqx.partition(build_network(config, COLOURS), eqx.is_inexact_array)
        self.start = (learned, adam.init(learned))

        def step(batch: Batch, carry: PyTree) -> tuple[PyTree, PyTree]:
            learned, state = carry
            credit = rule(eqx.combine(learned, self.fixed), None, batch)
            updates, state = adam.update(credit.gradient, state, learned)
            stats = credit.solution.stats
            figures = (
                credit.loss,
                jnp.mean(stats.control_norm),
                jnp.mean(solved(credit.solution)),
                jnp.median(stats.error),
                jnp.mean(stats.steps),
            )
            return (optax.apply_updates(learned, updates), state), figures

        def stretch(carry: PyTree, batch: Batch, count: Array) -> tuple[PyTree, PyTree]:
            def body(_: Array, both: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
                carry, sums = both
                carry, figures = step(batch, carry)
                return carry, jax.tree.map(jnp.add, sums, figures)

            zeros = tuple(jnp.zeros((), jnp.float32) for _ in range(5))
            return jax.lax.fori_loop(0, count, body, (carry, zeros))

        self._stretch = jax.jit(stretch)
        self._compiled: dict[int, Any] = {}

    def advance(self, carry: PyTree, batch: Batch, count: int) -> tuple[PyTree, list[float], float]:
        """Returns the weights after some steps, the means of the figures, and a step's time in ms.

        The compilation is not timed.
        """
        pixels = len(batch.inputs)
        if pixels not in self._compiled:
            lowered = self._stretch.lower(carry, batch, jnp.asarray(count))
            self._compiled[pixels] = lowered.compile()
        began = time.perf_counter()
        carry, sums = jax.block_until_ready(
            self._compiled[pixels](carry, batch, jnp.asarray(count))
        )
        elapsed = time.perf_counter() - began
        return carry, [float(own) / count for own in sums], 1e3 * elapsed / count

    def system(self, carry: PyTree) -> ImplicitRepresentation:
        """Returns the network with its weights."""
        return eqx.combine(carry[0], self.fixed)


def represent(
    learner: Learner, picture: data.Picture, *, report: Report | None = None
) -> Represented:
    """Returns the network that has learned a picture.

    **Raises:** `RepresentError` where its loss is no longer finite.
    """
    config, carry = learner.config, learner.start
    places, colours = picture.part(0)
    others, other_colours = picture.part(1)
    batch = Batch(jnp.asarray(places), jnp.asarray(colours))
    every = max(1, config.steps // config.reports)
    looks: list[Look] = []
    for first in range(0, config.steps, every):
        count = min(every, config.steps - first)
        carry, means, step_ms = learner.advance(carry, batch, count)
        loss, control, fraction, residual, solve_steps = means
        if not math.isfinite(loss):
            raise RepresentError(
                f"{picture.name}: the loss is not finite after {first + count} steps: lower "
                "--learning-rate, write --gradient-clip 1, or a larger --alpha."
            )
        system = learner.system(carry)
        looks.append(
            Look(
                image=picture.name,
                step=first + count,
                psnr_train=psnr(np.asarray(_outputs(system, batch.inputs)), colours),
                psnr_test=psnr(np.asarray(_outputs(system, jnp.asarray(others))), other_colours),
                loss=loss,
                control_norm=control,
                converged_fraction=fraction,
                residual_median=residual,
                solve_steps=solve_steps,
                step_ms=step_ms,
            )
        )
        if report is not None:
            report(looks[-1])
    system = learner.system(carry)
    shape = picture.pixels.shape
    everywhere = jnp.asarray(_all_places(picture))
    steps = tuple(own for own in (0, 1, 2, 4, 8, 16, 32) if own <= config.max_steps)
    unfolding = tuple(
        np.asarray(_unfolded(system, everywhere, jnp.asarray(own))).reshape(shape) for own in steps
    )
    whole = np.asarray(_outputs(system, everywhere)).reshape(shape)
    return Represented(picture, system, tuple(looks), whole, steps, unfolding)


def _all_places(picture: data.Picture) -> np.ndarray:
    own = np.arange(picture.size)
    rows, columns = np.meshgrid(own, own, indexing="ij")
    return (np.stack([rows, columns], axis=-1).reshape(-1, 2) / picture.size).astype(np.float32)


@eqx.filter_jit
def _outputs(
    system: ImplicitRepresentation, places: Float[Array, "pixels 2"]
) -> Float[Array, "pixels channels"]:
    """Returns the colours at the free equilibria, or at the points that were reached."""
    drives = jax.vmap(system.drive)(places)
    states = free_equilibrium(system, drives, solver=LOOKING, tolerance=Tolerance(1e-4)).value
    return jax.vmap(system.readout)(states)


@eqx.filter_jit
def _unfolded(
    system: ImplicitRepresentation, places: Float[Array, "pixels 2"], count: Array
) -> Float[Array, "pixels channels"]:
    """Returns the colours read from the free dynamics after some unit steps."""
    drives = jax.vmap(system.drive)(places)

    def step(_: Array, state: Array) -> Array:
        return state + jax.vmap(system.vector_field)(state, drives)

    start = jax.vmap(system.initial_state)(drives)
    return jax.vmap(system.readout)(jax.lax.fori_loop(0, count, step, start))
