"""Trains a reasoner by each arm, as paired trials, and says what came out.

    PYTHONPATH=examples python -m reasoner.study --seeds 0 1 2 3 4 --steps 300 --out runs/reasoner

A trial is one training: an arm, a seed, a learning rate and a number of steps. The seed draws the
first weights and the order of the puzzles, so that trials of one seed differ in the arm alone. The
split and the puzzles are the same for all. First every arm is tried with the same learning rates on
a seed of its own, and takes the one that is best on the validation puzzles; then come the trials of
the seeds, which alone are tested.

Every finished trial is one file of the folder `--out`, written whole or not at all. The same
command goes on with the trials that are missing there. `--results` writes the summary once none is
missing.
"""

import argparse
import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import leastcontrol as lc
from leastcontrol.files import FileError, read_json, write_json
from leastcontrol.runs.origin import origin
from leastcontrol.training import Program

from . import measures
from .arms import AbstractArm, Batch, Implicit, LeastControl, Truncated
from .model import Reasoner
from .sudoku import Puzzles, all_grids, draw_puzzles, split

APPLICATIONS = 16
TOLERANCE = 1e-3
SOLVER = lc.FixedPoint(max_steps=64)
# That of a controlled rest point is relative to the control, which is small beside the state. The
# leak is 1 for the sum of the losses of a grid's 16 cells.
CONTROL_TOLERANCE = 1e-2
LEAK = 16.0
ARMS: dict[str, AbstractArm] = {
    "one-step": Truncated(APPLICATIONS, 1),
    "two-phantom-steps": Truncated(APPLICATIONS, 2),
    "through-16-steps": Truncated(APPLICATIONS, APPLICATIONS),
    "implicit": Implicit(SOLVER, lc.Tolerance(TOLERANCE), lc.Drop()),
    "implicit-kept": Implicit(SOLVER, lc.Tolerance(TOLERANCE), lc.Keep()),
    "least-control": LeastControl(LEAK, SOLVER, lc.Tolerance(CONTROL_TOLERANCE)),
}
# What the others are compared with: its rest points and adjoints are solved 100 times as well.
EXACT = Implicit(lc.FixedPoint(max_steps=400), lc.Tolerance(TOLERANCE / 100), lc.Drop())

SPLIT_SEED = 0
PUZZLES_A_GRID = {"train": 32, "validation": 4, "test": 8}
RATES = (3e-3, 1e-2, 3e-2)
# Of the trials that choose the rate, so that no tested trial was looked at before.
TUNING_SEED = 1000
BATCH = 32
LARGEST_NORM = 1.0
# Fractions of a training at which its gradients are measured.
CHECKPOINTS = (0.0, 0.125, 0.25, 0.5, 1.0)
# Applications after which answers are read, and those at which they have come to rest if ever.
READ_AFTER = (8, 16, 32, 64, 128)
LONG = 64


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a reasoner, in the words of its class."""

    width: int = 24
    inner: int = 64
    mixers: int = 3

    def drawn(self, seed: int) -> Reasoner:
        """Draws the first weights of a seed."""
        return Reasoner(self.width, self.inner, self.mixers, key=jax.random.key(seed))


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training.

    **Arguments:** the word of its `arm`, the `seed`, the learning `rate`, the number of `steps`,
    the `size` of the reasoner, and whether it is `tested`; one that is not has validation alone,
    and its gradients are not measured.
    """

    arm: str
    seed: int
    rate: float
    steps: int
    size: Size
    tested: bool

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.arm}-seed-{self.seed}-rate-{self.rate:g}-steps-{self.steps}.json"

    def run(self, data: dict[str, Puzzles]) -> dict[str, Any]:
        """Trains, and measures along the training and after it."""
        # Optax's types do not know modules.
        reasoner: Any = self.size.drawn(self.seed)
        optimiser = optax.apply_if_finite(
            optax.chain(
                optax.clip_by_global_norm(LARGEST_NORM),
                optax.adam(optax.cosine_decay_schedule(self.rate, self.steps)),
            ),
            max_consecutive_errors=self.steps,
        )
        moments: Any = optimiser.init(reasoner)
        train = Batch(*map(jnp.asarray, data["train"]))
        rng = np.random.default_rng(self.seed)
        order = jnp.asarray(rng.integers(len(train.given), size=(self.steps, BATCH)))
        parts = CHECKPOINTS if self.tested else ()
        checkpoints = {round(part * self.steps): part for part in parts}

        def batch(step: int) -> Batch:
            return Batch(train.given[order[step]], train.solution[order[step]])

        program = Program.of(_GRADIENTS[self.arm], reasoner, batch(0))

        @jax.jit
        def updated(reasoner: Any, moments: Any, gradient: Any) -> tuple[Any, Any]:
            updates, moments = optimiser.update(gradient, moments)
            return optax.apply_updates(reasoner, updates), moments

        along, objectives, solved, taken, seconds = [], [], [], [], 0.0
        for step in range(self.steps + 1):
            if step in checkpoints:
                measured = measured_along(reasoner, data)
                along.append({"part": checkpoints[step], "step": step, **measured})
            if step == self.steps:
                break
            began = time.process_time()
            estimate = program.call(reasoner, batch(step))
            objectives.append(float(estimate.objective))
            seconds += time.process_time() - began
            solved.append(float(estimate.solved.mean()))
            taken.append(float(estimate.steps.mean()))
            reasoner, moments = updated(reasoner, moments, estimate.gradient)
        return {
            **dataclasses.asdict(self),
            "weights": sum(leaf.size for leaf in jax.tree.leaves(reasoner)),
            "along": along,
            "objective": float(np.mean(objectives[-self.steps // 8 :])),
            "solved": float(np.mean(solved)),
            "solve_steps": float(np.mean(taken)),
            "updates_refused": int(moments.total_notfinite),
            "temporary_bytes": program.temporary_bytes,
            "gradient_cpu_ms": 1000 * seconds / self.steps,
            "compile_seconds": program.compile_seconds,
            "validation_exact": validation_accuracy(reasoner, data),
            "test": after_training(reasoner, data["test"]) if self.tested else None,
        }


def load_data() -> dict[str, Puzzles]:
    """Makes the puzzles of the three parts."""
    every, rng = all_grids(), np.random.default_rng(SPLIT_SEED)
    parts = split(every, rng)._asdict()
    return {
        part: draw_puzzles(grids, every, PUZZLES_A_GRID[part], rng) for part, grids in parts.items()
    }


def after_training(reasoner: Reasoner, puzzles: Puzzles) -> dict[str, Any]:
    """Measures a trained reasoner on puzzles."""
    followed = measures.trace(reasoner, puzzles, max(READ_AFTER))
    return {
        "after": {str(n): measures.accuracy_after(followed, n) for n in READ_AFTER},
        "residual": {
            str(n): measures.residual_against_accuracy(followed, n, TOLERANCE)
            for n in (APPLICATIONS, LONG)
        },
        "stopping": measures.stopping(followed, TOLERANCE, BATCH),
    }


def measured_along(reasoner: Reasoner, data: dict[str, Puzzles]) -> dict[str, Any]:
    """Measures the gradients of all arms.

    The cosines are to the exact gradient, for one batch of training puzzles whose rest points it
    was solved at; `None` if twice as many puzzles have too few of these.
    """
    given, solution = (jnp.asarray(leaf[: 2 * BATCH]) for leaf in data["train"])
    at_rest = _GRADIENTS["exact"](reasoner, Batch(given, solution)).solved
    chosen = jnp.argsort(~at_rest, stable=True)[:BATCH]
    cosines = dict.fromkeys(ARMS)
    if bool(at_rest[chosen].all()):
        probe = Batch(given[chosen], solution[chosen])
        exact = _GRADIENTS["exact"](reasoner, probe).gradient
        estimates = {name: _GRADIENTS[name](reasoner, probe).gradient for name in ARMS}
        cosines = {name: measures.cosine(estimate, exact) for name, estimate in estimates.items()}
    return {
        "cosines": cosines,
        "at_rest": float(at_rest.mean()),
    }


def validation_accuracy(reasoner: Reasoner, data: dict[str, Puzzles]) -> float:
    """Computes the share of validation puzzles that are right at rest, or after long enough."""
    followed = measures.trace(reasoner, data["validation"], LONG)
    return measures.accuracy_after(followed, LONG)["exact"]


_GRADIENTS = {name: jax.jit(arm.__call__) for name, arm in {**ARMS, "exact": EXACT}.items()}


class StudyError(Exception):
    """The study cannot go on; the message is one sentence."""


def finished(trial: Trial, folder: Path) -> dict[str, Any] | None:
    """Reads what a trial left in a folder; `None` if it has not been finished.

    **Raises:** `StudyError` for the file of another trial or kind.
    """
    path = folder / trial.file
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except (FileError, NotADirectoryError) as error:
        raise StudyError(str(error)) from error
    expected = dataclasses.asdict(trial)
    if not isinstance(content, dict) or any(content.get(k) != v for k, v in expected.items()):
        raise StudyError(
            f"{path} holds another trial than {expected}: remove it, or give another folder by "
            "--out."
        )
    return content


class Study:
    """Trials in a folder, of which those that are missing are run.

    **Arguments:** the `folder`, the `seeds`, the learning `rates` that every arm chooses among, the
    numbers of `steps` of a trial and of those that choose the rate, and the `size` of the reasoner.
    If there is one rate, none is chosen.
    """

    def __init__(
        self,
        folder: Path,
        seeds: Sequence[int],
        rates: Sequence[float],
        steps: int,
        tuning_steps: int,
        size: Size,
    ):
        self.folder = folder
        self.seeds = seeds
        self.rates = rates
        self.steps = steps
        self.tuning_steps = tuning_steps
        self.size = size
        self.data = load_data()

    def outcome(self, trial: Trial) -> dict[str, Any]:
        """Returns what a trial left, after running it if it is missing."""
        content = finished(trial, self.folder)
        if content is None:
            print(f"{trial.file} ...", flush=True)
            content = {**trial.run(self.data), **origin(None)}
            write_json(self.folder / trial.file, content)
        return content

    def tuning(self, arm: str) -> dict[float, float]:
        """Returns the validation accuracy of an arm with each rate that it chooses among."""
        if len(self.rates) == 1:
            return {}
        trials = (
            Trial(arm, TUNING_SEED, rate, self.tuning_steps, self.size, tested=False)
            for rate in self.rates
        )
        return {trial.rate: self.outcome(trial)["validation_exact"] for trial in trials}

    def trial(self, arm: str, seed: int, rate: float) -> Trial:
        """Makes the trial of an arm and a seed that is tested."""
        return Trial(arm, seed, rate, self.steps, self.size, tested=True)

    def run(self) -> dict[str, Any]:
        """Runs all trials, and returns the summary."""
        tuning = {arm: self.tuning(arm) for arm in ARMS}
        rates = {arm: best_rate(tried, self.rates) for arm, tried in tuning.items()}
        for seed in self.seeds:
            for arm, rate in rates.items():
                self.outcome(self.trial(arm, seed, rate))
        arms = [self.summary(arm, rate, tuning[arm]) for arm, rate in rates.items()]
        return {"arms": arms, "seeds": list(self.seeds), "rates": list(self.rates)}

    def summary(self, arm: str, rate: float, tuning: dict[float, float]) -> dict[str, Any]:
        """Summarises the trials of an arm."""
        trials = [self.trial(arm, seed, rate) for seed in self.seeds]
        return {
            **dataclasses.asdict(trials[0]),
            "seed": list(self.seeds),
            "tuning": {f"{tried:g}": accuracy for tried, accuracy in tuning.items()},
            "per_seed": [outcome_alone(self.outcome(trial)) for trial in trials],
        }


def best_rate(tried: dict[float, float], rates: Sequence[float]) -> float:
    """Returns the rate with the best validation accuracy, and the first of equals."""
    return max(rates, key=lambda rate: tried.get(rate, 0.0))


def outcome_alone(content: dict[str, Any]) -> dict[str, Any]:
    """Returns what a trial measured, without what all trials have in common."""
    shared = ("arm", "rate", "steps", "size", "tested", "command", "versions")
    return {name: value for name, value in content.items() if name not in shared}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reasoner.study",
        description="Train a reasoner by each arm, as paired trials, and say what came out.",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=300, help="of a trial")
    parser.add_argument("--tuning-steps", type=int, default=150, help="of those for the rate")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=RATES, help="that an arm chooses among"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--results", type=Path, metavar="FILE", help="where the summary is written")
    given = parser.parse_args(arguments)
    command = ["python", "-m", "reasoner.study", *(arguments or sys.argv[1:])]
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        study = Study(given.out, given.seeds, given.rates, given.steps, given.tuning_steps, Size())
        summary = study.run()
        if given.results is not None:
            write_json(
                given.results, {**summary, **origin(f"PYTHONPATH=examples {shlex.join(command)}")}
            )
    except (StudyError, FileError, OSError) as error:
        print(f"reasoner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
