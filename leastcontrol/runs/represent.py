"""Implicit representations: networks that map the coordinates of a picture to its colours.

A run is a folder with `config.json`, `metrics.jsonl` with a line for each evaluation of a network,
`summary.json`, the weights of a network for each picture, and the figures of `represent_figures`.
If a run has several seeds, each has such a folder, `seed-SEED`, and the summary of the run has
means and deviations over the seeds. The weights and lines of a picture are written when it is
learned. A resumed run continues with the first picture without lines.

The quality is the peak signal-to-noise ratio, −10 log₁₀ of the mean squared error of pixels outside
the training set, in dB.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from .. import data, files, training
from ..equilibrium import FixedPoint, Tolerance, free_equilibrium, solved
from ..rules import Batch
from ..systems import ImplicitRepresentation
from ..training._step import finite_mean
from .folders import read_metrics
from .options import ConfigError
from .represent_config import RepresentConfig
from .represent_figures import draw_representations
from .runner import AbstractJob, Report, SeedRun, Summary, run
from .spread import deviation, mean, number

# Red, green and blue.
COLOURS = 3
# Evaluations take more steps than training, because they are not timed.
LOOKING = FixedPoint(max_steps=400)
# Number of pixels that are evaluated at a time.
LOOKED_AT = 2**14


@dataclasses.dataclass(frozen=True)
class Look:
    """An evaluation of a network during training.

    * `image`, `step`: the name of the picture, and the number of steps so far.
    * `psnr_train`, `psnr_test`: in dB, on the pixels of the training set and on the others.
    * `loss`, `control_norm`, `converged_fraction`, `residual_median`, `solve_steps`: means over the
      steps since the last evaluation; `residual_median` is the median over the pixels of the
      residual, as a multiple of the tolerance.
    * `step_ms`: the wall time of a step in milliseconds.
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
    """A picture with its trained network, the evaluations and the outputs.

    * `whole`: the output of the network at all pixels, with the shape of the picture.
    * `unfolding`: the outputs after each number of steps in `unfolding_steps` of the free dynamics.
    """

    picture: data.Picture
    system: ImplicitRepresentation
    looks: tuple[Look, ...]
    whole: np.ndarray
    unfolding_steps: tuple[int, ...]
    unfolding: tuple[np.ndarray, ...]


class RepresentError(RuntimeError):
    """The training of a picture failed; the message says what to change."""


def kind_of(image: str) -> str:
    """Reads the kind of a picture from its name: natural, text or image."""
    return image.split("-")[0].split(":")[0]


def psnr(outputs: np.ndarray, colours: np.ndarray) -> float:
    """Computes −10 log₁₀ of the mean squared error, in dB, for colours from 0 to 1."""
    error = float(np.mean((outputs.astype(np.float64) - colours) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def run_representations(
    config: RepresentConfig,
    out: Path,
    *,
    command: str | None = None,
    resume: bool = False,
    report: Report | None = None,
    look: Report | None = None,
) -> Summary:
    """Learns all pictures of a configuration with each seed, by `runner.run`.

    `report` is called with the seed and the last `Look` of a picture when the picture is saved, and
    may raise to stop the run there; `look` is called with the earlier looks.

    **Raises:** `ConfigError`, `data.DataError` or `training.FolderError`; `RepresentError` if the
    loss of a network is not finite, or no pixel counts.
    """
    job = RepresentJob(config)
    return run(job, out, command=command, resume=resume, report=report, look=look)


class RepresentJob(AbstractJob[RepresentConfig]):
    """The training of all pictures with each seed."""

    verb: ClassVar[str] = "represent"

    def __init__(self, config: RepresentConfig):
        """Checks the configuration and reads the pictures.

        **Raises:** `ConfigError` or `data.DataError` if the pictures cannot be learned.
        """
        config.check()
        if find_spec("matplotlib") is None:
            raise ConfigError(
                "represent draws figures with Matplotlib, which is not installed: run pip install "
                "'leastcontrol[plot]'."
            )
        self.config = config
        # All pictures are read before the first is learned, so that errors appear at once.
        pictures = config.pictures
        self.pictures = [data.read_picture(name, size=pictures.size) for name in pictures.images]
        self.learner = Learner(config)

    def run_seed(self, run: SeedRun[RepresentConfig]) -> Summary:
        """Learns the pictures that have no weights yet."""
        kept, identity = _kept(run.folder), run.config.identity()
        began = time.perf_counter()

        def during(look: Look) -> None:
            if look.step < run.config.optimiser.steps:
                run.looked(look)

        represented: list[Represented] = []
        for place, picture in enumerate(self.pictures, start=1):
            name = f"picture-{place}"
            if picture.name in kept:
                like = self.learner.system(self.learner.start(run.seed))
                system = run.folder.load_weights(name, like, {**identity, "picture": picture.name})
                represented.append(seen(run.config, picture, system, kept[picture.name]))
                continue
            represented.append(represent(self.learner, picture, run.seed, report=during))
            # The weights are saved first, because a picture with lines counts as learned.
            weights_identity = {**identity, "picture": picture.name}
            run.folder.save_weights(name, represented[-1].system, weights_identity)
            looks = [look for each in represented for look in each.looks]
            run.folder.write_metrics([dataclasses.asdict(look) for look in looks])
            run.saved(represented[-1].looks[-1])
        draw_representations(represented, run.folder)
        return {
            **_figures(represented),
            "seconds": time.perf_counter() - began,
            "pictures": [
                {
                    "image": each.picture.name,
                    "checksums": dict(each.picture.provenance.checksums),
                    **{n: v for n, v in dataclasses.asdict(each.looks[-1]).items() if n != "image"},
                }
                for each in represented
            ],
            "seed": run.seed,
        }

    def figures(self, summary: Summary) -> dict[str, float]:
        """Lists the signal-to-noise ratio of each kind of picture, and statistics of the solves."""
        return {
            f"psnr_test_{kind}": number(figures["mean"])
            for kind, figures in summary["psnr_test"].items()
        } | {name: number(summary[name]) for name in _FIGURES}

    def row(self, summary: Summary) -> Summary:
        """Selects the figures of the seed and its pictures."""
        return {name: summary[name] for name in ("seed", "psnr_test", "pictures")}

    def place(self, figures: Look) -> str:
        """Returns the name of the picture."""
        return figures.image

    def share(self, figures: Look) -> float:
        """Returns the share of the pictures, and of the steps of this one."""
        names = [picture.name for picture in self.pictures]
        learned = names.index(figures.image) + figures.step / self.config.optimiser.steps
        return learned / len(names)

    def combined(self, summaries: Sequence[Summary]) -> Summary:
        """Adds nothing to the means and deviations of the figures."""
        return {}


# Figures of a summary in addition to the signal-to-noise ratios.
_FIGURES = ("converged_fraction", "solve_steps", "step_ms_median", "seconds")


def _kept(folder: training.RunFolder) -> dict[str, tuple[Look, ...]]:
    """Reads the looks of the pictures that an interrupted run has learned.

    **Raises:** `training.FolderError` if they are damaged.
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
    return {name: tuple(look for look in looks if look.image == name) for name in names}


def _look(row: dict[str, Any]) -> Look:
    # A number that is not finite is stored as null.
    values: dict[str, Any] = {n: math.nan if v is None else v for n, v in row.items()}
    return Look(**values)


def _figures(represented: list[Represented]) -> dict[str, Any]:
    """Computes means and deviations over all pictures, and over those of each kind."""
    groups: dict[str, list[float]] = {"all": []}
    for each in represented:
        value = each.looks[-1].psnr_test
        groups["all"].append(value)
        groups.setdefault(kind_of(each.picture.name), []).append(value)
    looks = [look for each in represented for look in each.looks]
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


def _network(config: RepresentConfig, seed: int) -> ImplicitRepresentation:
    return config.network.build(COLOURS, jax.random.key(seed))


class Learner:
    """The compiled training of a configuration, which all of its pictures share."""

    def __init__(self, config: RepresentConfig):
        self.config = config
        rule, optimiser = config.rule.build(), config.optimiser
        adam = optax.adam(optimiser.learning_rate)
        if optimiser.gradient_clip is not None:
            adam = optax.chain(optax.clip_by_global_norm(optimiser.gradient_clip), adam)
        # The part that is not learned does not depend on the seed.
        _, self.fixed = eqx.partition(_network(config, 0), eqx.is_inexact_array)
        self._adam = adam

        def step(batch: Batch, carry: PyTree) -> tuple[PyTree, PyTree]:
            learned, state = carry
            credit = rule(eqx.combine(learned, self.fixed), None, batch)
            updates, state = adam.update(credit.gradient, state, learned)
            stats = credit.solution.stats
            figures = (
                # Not finite if no pixel counts.
                credit.loss,
                finite_mean(stats.control_norm),
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
        self._programs: dict[int, training.Program[Any]] = {}

    def start(self, seed: int) -> PyTree:
        """Draws the initial weights of a seed, and initialises the state of the optimiser."""
        learned = eqx.filter(_network(self.config, seed), eqx.is_inexact_array)
        return learned, self._adam.init(learned)

    def advance(self, carry: PyTree, batch: Batch, count: int) -> tuple[PyTree, list[float], float]:
        """Trains for some steps; returns the weights, the means of the figures, and ms per step.

        The time does not include compilation.
        """
        pixels = len(batch.inputs)
        arguments = carry, batch, jnp.asarray(count)
        if pixels not in self._programs:
            self._programs[pixels] = training.Program.of(self._stretch, *arguments)
        (carry, sums), elapsed = self._programs[pixels].timed(*arguments)
        return carry, [float(total) / count for total in sums], 1e3 * elapsed / count

    def system(self, carry: PyTree) -> ImplicitRepresentation:
        """Builds the network from its weights."""
        return eqx.combine(carry[0], self.fixed)


def represent(
    learner: Learner,
    picture: data.Picture,
    seed: int,
    *,
    report: Callable[[Look], None] | None = None,
) -> Represented:
    """Trains a network on a picture.

    **Raises:** `RepresentError` if the loss is not finite, or no pixel counts.
    """
    config, carry = learner.config, learner.start(seed)
    places, colours = picture.part(0)
    others, other_colours = picture.part(1)
    batch = Batch(jnp.asarray(places), jnp.asarray(colours))
    total = config.optimiser.steps
    every = max(1, total // config.run.reports)
    looks: list[Look] = []
    for first in range(0, total, every):
        count = min(every, total - first)
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
    return seen(config, picture, learner.system(carry), tuple(looks))


def seen(
    config: RepresentConfig,
    picture: data.Picture,
    system: ImplicitRepresentation,
    looks: tuple[Look, ...],
) -> Represented:
    """Computes the outputs of a trained network at all pixels of its picture."""
    shape = picture.pixels.shape
    everywhere = _all_places(picture)
    steps = tuple(count for count in (0, 1, 2, 4, 8, 16, 32) if count <= config.rule.max_steps)
    unfolding = tuple(_unfolded(system, everywhere, count).reshape(shape) for count in steps)
    whole = _outputs(system, everywhere).reshape(shape)
    return Represented(picture, system, looks, whole, steps, unfolding)


def _all_places(picture: data.Picture) -> np.ndarray:
    indices = np.arange(picture.size)
    rows, columns = np.meshgrid(indices, indices, indexing="ij")
    return (np.stack([rows, columns], axis=-1).reshape(-1, 2) / picture.size).astype(np.float32)


def _in_parts(read: Callable[[np.ndarray], Array], places: np.ndarray) -> np.ndarray:
    """Applies a function to parts of the places, one after another, which bounds the memory."""
    parts = (places[first : first + LOOKED_AT] for first in range(0, len(places), LOOKED_AT))
    return np.concatenate([np.asarray(read(part)) for part in parts])


def _outputs(system: ImplicitRepresentation, places: np.ndarray) -> np.ndarray:
    """Computes the colours at the free equilibria, or at the last points of unsolved pixels."""
    return _in_parts(lambda part: _at_rest(system, jnp.asarray(part)), places)


def _unfolded(system: ImplicitRepresentation, places: np.ndarray, count: int) -> np.ndarray:
    """Computes the colours after some unit steps of the free dynamics."""
    steps = jnp.asarray(count)
    return _in_parts(lambda part: _after(system, jnp.asarray(part), steps), places)


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
