"""Implicit representations: a network for each picture, that gives a colour for a coordinate.

A run of several pictures is a folder: `config.json`, `metrics.jsonl` with a line for each look at a
network, `summary.json`, the weights of every picture's network, and the figures of
`_represent_figures`. Of several seeds each has such a folder, `seed-SEED`, inside the run's, whose
summary has means and deviations over them. A picture's weights and lines are written when it is
learned; a run that is resumed goes on with the first picture that has none.

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

from .. import data, files, training
from ..controllers import DynamicInversion, LeakyIntegral
from ..equilibrium import FixedPoint, Tolerance, free_equilibrium, solved
from ..losses import SquaredError
from ..rules import AbstractRule, Batch, LeastControl, RecurrentBackpropagation
from ..systems import ImplicitRepresentation
from .config import ConfigError
from .represent_config import RepresentConfig
from .represent_figures import draw_representations
from .running import (
    ACTIVATIONS,
    UNSOLVED,
    claim,
    commit,
    deviation,
    mean,
    read_json,
    read_metrics,
    run_identity,
    seed_folders,
    versions,
)

# Red, green and blue.
COLOURS = 3
# Steps of a free equilibrium that is looked at; more than training takes, for it is not timed.
LOOKING = FixedPoint(max_steps=400)
# Pixels that are looked at at a time.
LOOKED_AT = 2**14


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


# From a seed and a look at one of its networks.
Report = Callable[[int, Look], None]


class RepresentError(RuntimeError):
    """A picture cannot be learned further; the message says what to change."""


def kind_of(image: str) -> str:
    """Returns the kind of a picture by its name: natural, text or image."""
    return image.split("-")[0].split(":")[0]


def psnr(outputs: np.ndarray, colours: np.ndarray) -> float:
    """Returns −10 log₁₀ of the mean squared error, in dB, for colours from 0 to 1."""
    error = float(np.mean((outputs.astype(np.float64) - colours) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def build_rule(config: RepresentConfig) -> AbstractRule:
    """Returns a configuration's rule."""
    solver = FixedPoint(max_steps=config.max_steps)
    tolerance = Tolerance(relative=config.tolerance)
    unsolved = UNSOLVED[config.unsolved]()
    if config.rule == "recurrent-backpropagation":
        return RecurrentBackpropagation(SquaredError(), tolerance, solver, unsolved)
    controller = DynamicInversion(tolerance, solver)
    return LeastControl(
        controller, LeakyIntegral(config.alpha), loss=SquaredError(), unsolved=unsolved
    )


def build_network(config: RepresentConfig, channels: int, seed: int) -> ImplicitRepresentation:
    """Returns a configuration's network as it is before training."""
    return ImplicitRepresentation(
        2,
        config.hidden,
        channels,
        frequency=config.frequency,
        activation=ACTIVATIONS[config.activation],
        key=jax.random.key(seed),
    )


def run_representations(
    config: RepresentConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """Represents every picture of a configuration with each seed, and returns the summary.

    **Arguments:**

    * `out`: a new folder, or with `resume` that of the same run, which goes on.
    * `command`: what was called, for the summary.
    * `report`: called after every look, the last of a picture when that is saved; it may raise to
      stop the run there.

    **Raises:** `ConfigError`, `data.DataError`, `training.FolderError`, and `RepresentError` where
    a network's loss is no longer finite, or no pixel counts.
    """
    config.check()
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "represent draws what it has found with Matplotlib: run pip install "
            "'leastcontrol[plot]'."
        )
    # All of them before one of them is learned.
    pictures = [data.read_picture(name, size=config.size) for name in config.images]
    origin = {"command": command, "commit": commit(), "versions": versions()}
    learner = Learner(config)
    with training.RunFolder.held(out, resume=resume) as folder:
        claim(config, folder)
        summaries = []
        for seed, path in seed_folders(config, out).items():
            own = training.RunFolder.reopen(path)
            single = dataclasses.replace(config, seed=seed, seeds=())
            claim(single, own)
            summaries.append(
                _run_seed(
                    single,
                    seed,
                    learner=learner,
                    pictures=pictures,
                    folder=own,
                    origin=origin,
                    report=report,
                )
            )
        if len(summaries) == 1:
            return summaries[0]
        summary = {**_summary_of(summaries, config), **origin}
        folder.write_record("summary.json", summary)
    return summary


def _run_seed(
    config: RepresentConfig,
    seed: int,
    *,
    learner: "Learner",
    pictures: list[data.Picture],
    folder: training.RunFolder,
    origin: dict[str, Any],
    report: Report | None,
) -> dict[str, Any]:
    """Returns the summary of one seed, after learning the pictures that are left."""
    path = folder.path / "summary.json"
    if path.is_file():
        return read_json(path)
    kept, identity = _kept(folder), run_identity(config)
    began = time.perf_counter()

    def during(look: Look) -> None:
        if report is not None and look.step < config.steps:
            report(seed, look)

    found: list[Represented] = []
    for number, picture in enumerate(pictures, start=1):
        name = f"picture-{number}"
        if picture.name in kept:
            like = learner.system(learner.start(seed))
            system = folder.load_weights(name, like, {**identity, "picture": picture.name})
            found.append(shown(config, picture, system, kept[picture.name]))
            continue
        found.append(represent(learner, picture, seed, report=during))
        # The weights first: a picture counts as learned by its lines.
        folder.save_weights(name, found[-1].system, {**identity, "picture": picture.name})
        folder.write_metrics([dataclasses.asdict(look) for own in found for look in own.looks])
        if report is not None:
            report(seed, found[-1].looks[-1])
    draw_representations(found, folder)
    summary = {
        **_figures(found),
        "seconds": time.perf_counter() - began,
        "pictures": [
            {
                "image": own.picture.name,
                "checksums": dict(own.picture.provenance.checksums),
                **{n: v for n, v in dataclasses.asdict(own.looks[-1]).items() if n != "image"},
            }
            for own in found
        ],
        "seed": seed,
        "config": config.as_json(),
        **origin,
    }
    folder.write_record("summary.json", summary)
    return summary


def _kept(folder: training.RunFolder) -> dict[str, tuple[Look, ...]]:
    """Returns the looks at the pictures that an interrupted run has learned.

    **Raises:** `training.FolderError` where they are damaged.
    """
    path = folder.path / "metrics.jsonl"
    try:
        looks = [_look(row) for row in read_metrics(folder.path, whole=True)]
    except (files.FileError, TypeError, AttributeError) as error:
        raise training.FolderError(
            f"{path} does not hold what was seen of pictures: it is damaged; remove it, and they "
            "are learned again."
        ) from error
    names = {look.image for look in looks}
    return {name: tuple(own for own in looks if own.image == name) for name in names}


def _look(row: dict[str, Any]) -> Look:
    # A number that is not finite is written as null.
    values: dict[str, Any] = {n: math.nan if v is None else v for n, v in row.items()}
    return Look(**values)


def _figures(found: list[Represented]) -> dict[str, Any]:
    """Returns means over the pictures, of all and by kind, with their deviation."""
    groups: dict[str, list[float]] = {"all": []}
    for own in found:
        value = own.looks[-1].psnr_test
        groups["all"].append(value)
        groups.setdefault(kind_of(own.picture.name), []).append(value)
    looks = [look for own in found for look in own.looks]
    return {
        "psnr_test": {
            name: {
                "mean": mean(values),
                "std": deviation(values) if len(values) > 1 else None,
                "count": len(values),
            }
            for name, values in groups.items()
        },
        "converged_fraction": mean(look.converged_fraction for look in looks),
        "solve_steps": mean(look.solve_steps for look in looks),
        "step_ms_median": statistics.median(look.step_ms for look in looks),
    }


# Of the summaries of several seeds: the mean over them, and the deviation between them.
_FIGURES = ("converged_fraction", "solve_steps", "step_ms_median", "seconds")


def _summary_of(summaries: list[dict[str, Any]], config: RepresentConfig) -> dict[str, Any]:
    """Returns the mean of several seeds' figures, and their spread."""
    figures = {
        f"psnr_test_{kind}": [own["psnr_test"][kind]["mean"] for own in summaries]
        for kind in summaries[0]["psnr_test"]
    } | {name: [own[name] for own in summaries] for name in _FIGURES}
    return {
        "seed": list(config.seeds),
        "mean": {name: mean(values) for name, values in figures.items()},
        "std": {name: deviation(values) for name, values in figures.items()},
        "per_seed": [
            {name: own[name] for name in ("seed", "psnr_test", "pictures")} for own in summaries
        ],
        "config": config.as_json(),
    }


class Learner:
    """The compiled training of a configuration, the same for all of its pictures."""

    def __init__(self, config: RepresentConfig):
        self.config = config
        rule = build_rule(config)
        adam = optax.adam(config.learning_rate)
        if config.gradient_clip is not None:
            adam = optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)
        # What is not learned is the same with every seed.
        _, self.fixed = eqx.partition(build_network(config, COLOURS, 0), eqx.is_inexact_array)
        self._adam = adam

        def step(batch: Batch, carry: PyTree) -> tuple[PyTree, PyTree]:
            learned, state = carry
            credit = rule(eqx.combine(learned, self.fixed), None, batch)
            updates, state = adam.update(credit.gradient, state, learned)
            stats = credit.solution.stats
            figures = (
                # Not finite where no pixel counts.
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

    def start(self, seed: int) -> PyTree:
        """Returns a seed's weights before training, with the optimiser's state."""
        learned = eqx.filter(build_network(self.config, COLOURS, seed), eqx.is_inexact_array)
        return learned, self._adam.init(learned)

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
    learner: Learner,
    picture: data.Picture,
    seed: int,
    *,
    report: Callable[[Look], None] | None = None,
) -> Represented:
    """Returns the network that has learned a picture.

    **Raises:** `RepresentError` where its loss is no longer finite, or no pixel counts.
    """
    config, carry = learner.config, learner.start(seed)
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
                f"{picture.name}: in one of the steps up to {first + count} no pixel counts, or "
                "the loss is not finite: lower --learning-rate, write --gradient-clip 1, or a "
                "larger --alpha."
            )
        system = learner.system(carry)
        looks.append(
            Look(
                image=picture.name,
                step=first + count,
                psnr_train=psnr(_outputs(system, places), colours),
                psnr_test=psnr(_outputs(system, others), other_colours),
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
    return shown(config, picture, learner.system(carry), tuple(looks))


def shown(
    config: RepresentConfig,
    picture: data.Picture,
    system: ImplicitRepresentation,
    looks: tuple[Look, ...],
) -> Represented:
    """Returns a picture with what its network shows."""
    shape = picture.pixels.shape
    everywhere = _all_places(picture)
    steps = tuple(own for own in (0, 1, 2, 4, 8, 16, 32) if own <= config.max_steps)
    unfolding = tuple(_unfolded(system, everywhere, own).reshape(shape) for own in steps)
    whole = _outputs(system, everywhere).reshape(shape)
    return Represented(picture, system, looks, whole, steps, unfolding)


def _all_places(picture: data.Picture) -> np.ndarray:
    own = np.arange(picture.size)
    rows, columns = np.meshgrid(own, own, indexing="ij")
    return (np.stack([rows, columns], axis=-1).reshape(-1, 2) / picture.size).astype(np.float32)


def _in_parts(read: Callable[[np.ndarray], Array], places: np.ndarray) -> np.ndarray:
    """Returns what is read at some places, a part of them at a time, which bounds the memory."""
    parts = (places[first : first + LOOKED_AT] for first in range(0, len(places), LOOKED_AT))
    return np.concatenate([np.asarray(read(own)) for own in parts])


def _outputs(system: ImplicitRepresentation, places: np.ndarray) -> np.ndarray:
    """Returns the colours at the free equilibria, or at the points that were reached."""
    return _in_parts(lambda own: _at_rest(system, jnp.asarray(own)), places)


def _unfolded(system: ImplicitRepresentation, places: np.ndarray, count: int) -> np.ndarray:
    """Returns the colours read from the free dynamics after some unit steps."""
    steps = jnp.asarray(count)
    return _in_parts(lambda own: _after(system, jnp.asarray(own), steps), places)


@eqx.filter_jit
def _at_rest(
    system: ImplicitRepresentation, places: Float[Array, "pixels 2"]
) -> Float[Array, "pixels channels"]:
    drives = jax.vmap(system.drive)(places)
    states = free_equilibrium(system, drives, solver=LOOKING, tolerance=Tolerance(1e-4)).value
    return jax.vmap(system.readout)(states)


@eqx.filter_jit
def _after(
    system: ImplicitRepresentation, places: Float[Array, "pixels 2"], count: Array
) -> Float[Array, "pixels channels"]:
    drives = jax.vmap(system.drive)(places)

    def step(_: Array, state: Array) -> Array:
        return state + jax.vmap(system.vector_field)(state, drives)

    start = jax.vmap(system.initial_state)(drives)
    return jax.vmap(system.readout)(jax.lax.fori_loop(0, count, step, start))
