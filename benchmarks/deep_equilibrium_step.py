"""What a step of a deep equilibrium model costs, beside recurrent backpropagation's.

    python benchmarks/deep_equilibrium_step.py --json results/deep-equilibrium-step.json

The small model of the training on Fashion-MNIST (24 maps of 7 × 7), with the cell of the paper's
equation and with that of its published code, is measured at its first weights and after some steps
of recurrent backpropagation, without and with a penalty on its Jacobian that keeps it contracting;
least control at the default leak, and at that which convolutional networks were found to learn
best with (`docs/depth-and-space.md`). A step is that of training, compiled and timed as
`leastcontrol bench` does it; least control, recurrent backpropagation and backpropagation through
time meet the same batches at the same tolerance. Memory is that of the temporary arrays of a step
as XLA lays them out, for two budgets of a solve. Steps that end after a few iterations tell what an
iteration costs, and what the last samples do.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from _profile import learned, on_one_core

from leastcontrol import data
from leastcontrol.bench.timing import compile_step, interleaved
from leastcontrol.controllers import DynamicInversion
from leastcontrol.equilibrium import FixedPoint, Tolerance
from leastcontrol.files import write_json
from leastcontrol.rules import (
    AbstractRule,
    BackpropagationThroughTime,
    Batch,
    JacobianPenalty,
    LeastControl,
    RecurrentBackpropagation,
    WithBatchStatistics,
)
from leastcontrol.systems import DeepEquilibrium, Swapped, convolutional_deep_equilibrium

BATCH, BATCHES = 64, 2
LEAKS = (6.4, 320.0)
BASELINE, LEAST = "recurrent backpropagation", "least control, dynamic inversion, α = {:g}"
CELLS = {"residual": None, "swapped": Swapped}
# Of each cell: the steps that it learns, fewer where they are dear, and the penalty.
LEARNED = {"residual": 60, "swapped": 600}
PENALTIES = {"residual": 10.0, "swapped": 0.3}
BUDGETS = (50, 200)
# A step that ends after so many iterations is measured too.
CUT_SHORT = (1, 12, 24, 48)
REPEATS, SECONDS = 7, 120.0
KEY = jax.random.key(0)


def samples(folder: Path | None, count: int) -> Batch:
    """Returns so many batches of Fashion-MNIST."""
    train = data.load("fashion-mnist", data_dir=folder).train
    inputs = np.asarray(train.inputs[: count * BATCH]).reshape(count, BATCH, 1, 28, 28)
    return Batch(
        jnp.asarray(inputs), jnp.asarray(train.targets[: count * BATCH]).reshape(count, -1)
    )


def rules(budget: int, tolerance: Tolerance) -> dict[str, AbstractRule]:
    """Returns the rules, each solve with a budget of steps."""
    solver = FixedPoint(max_steps=budget)
    plain: dict[str, AbstractRule] = {
        BASELINE: RecurrentBackpropagation(tolerance=tolerance, solver=solver),
        **{
            LEAST.format(leak): LeastControl(DynamicInversion(tolerance, solver), leak)
            for leak in LEAKS
        },
        "backpropagation through time": BackpropagationThroughTime(steps=budget),
    }
    return {name: WithBatchStatistics(rule) for name, rule in plain.items()}


def measured(
    cell: str, weights: str, system: DeepEquilibrium, batches: Batch
) -> list[dict[str, Any]]:
    """Returns a row for each rule at some weights."""
    named = rules(max(BUDGETS), Tolerance())
    # As many steps as a solve takes, which it would have to know.
    steps = {rule: compile_step(system, named[rule], batches, KEY) for rule in list(named)[:-1]}
    taken = round(max(step.steps_mean for step in steps.values()))
    unrolled = rules(taken, Tolerance())["backpropagation through time"]
    steps["backpropagation through time"] = compile_step(system, unrolled, batches, KEY)
    baseline, *others = steps.values()
    timings = interleaved(baseline, others, repeats=REPEATS, seconds=SECONDS)
    rows = []
    for (rule, step), timing in zip(steps.items(), timings, strict=True):
        memory = {
            str(budget): compile_step(
                system, rules(budget, Tolerance())[rule], batches, KEY
            ).temporary_mb
            for budget in BUDGETS
        }
        rows.append(
            {
                "cell": cell,
                "weights": weights,
                "rule": rule,
                "ms": timing.ms._asdict(),
                "ratio": timing.ratio._asdict(),
                "steps": step.steps_mean,
                "converged_fraction": step.converged_fraction,
                "temporary_mb": memory,
            }
        )
        print(rows[-1], flush=True)
    return rows


def cut_short(system: DeepEquilibrium, batches: Batch) -> list[dict[str, Any]]:
    """Returns what a step takes whose solves end after some iterations, whether solved or not."""
    rows = []
    for budget in (*CUT_SHORT, max(BUDGETS)):
        baseline, least = (
            compile_step(system, rules(budget, Tolerance())[rule], batches, KEY)
            for rule in (BASELINE, LEAST.format(LEAKS[-1]))
        )
        timings = interleaved(baseline, [least], repeats=REPEATS, seconds=SECONDS)
        ms = [timing.ms._asdict() for timing in timings]
        rows.append({"budget": budget, "ms": ms, "ratio": timings[1].ratio._asdict()})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder with Fashion-MNIST's files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    on_one_core()
    rows: list[dict[str, Any]] = []
    for cell, count in LEARNED.items():
        many = samples(given.data_dir, count + BATCHES)
        first = jax.tree.map(lambda leaf, count=count: leaf[:count], many)
        batches = jax.tree.map(lambda leaf, count=count: leaf[count:], many)
        system = convolutional_deep_equilibrium(
            (1, 28, 28),
            10,
            channels=24,
            inner=24,
            pool=7,
            stride=4,
            make_cell=CELLS[cell],
            key=KEY,
        )
        rows += measured(cell, "initialisation", system, batches)
        plain = RecurrentBackpropagation(solver=FixedPoint(max_steps=max(BUDGETS)))
        for name, rule in (
            (f"{count} steps", plain),
            (f"{count} steps with a penalty", JacobianPenalty(plain, PENALTIES[cell])),
        ):
            after = learned(system, WithBatchStatistics(rule), first)
            rows += measured(cell, name, after, batches)
    # Of the cell that stays solvable, which is the last.
    cut = cut_short(after, batches)
    if given.json is not None:
        figures = {
            "rows": rows,
            "cut_short": cut,
            "batch_size": BATCH,
            "penalties": PENALTIES,
            "budgets": BUDGETS,
        }
        write_json(given.json, {**figures, **origin()})


if __name__ == "__main__":
    main()
