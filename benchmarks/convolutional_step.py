"""Where the time of a step of least control on a convolutional network goes.

    python benchmarks/convolutional_step.py --json results/profile-conv.json

Whole steps of the strided network of 89 050 weights are timed at its first weights and after 800
steps of backpropagation on Fashion-MNIST, then with their parts, on training images that it has not
seen. All are compiled as loops and timed in turn, in CPU time on one core, so that other work on
the machine counts less.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from _profile import Call, learned, of_solves, on_one_core, rows_of, timed
from jaxtyping import PyTree

from leastcontrol import data
from leastcontrol.controllers import DynamicInversion
from leastcontrol.equilibrium import (
    ControlProblem,
    FixedPoint,
    KinkedSweepProblem,
    Sample,
    Tolerance,
    run,
)
from leastcontrol.equilibrium._driver import Progress, advance
from leastcontrol.files import write_json
from leastcontrol.losses import CrossEntropy
from leastcontrol.rules import AbstractRule, Backpropagation, Batch, LeastControl
from leastcontrol.systems import STRIDED_CONVOLUTIONS, ConvolutionalFeedforward

BATCH, LEAK, LEARNED = 64, 6.4, 800
BATCHES, REPEATS, ROUNDS = 8, 10, 9
MOST_SWEEPS = 40
ENDLESS = FixedPoint(max_steps=2**30)


def batches(folder: Path | None) -> tuple[Batch, Batch]:
    """Returns batches to learn from, and others to measure with."""
    splits = data.load("fashion-mnist", data_dir=folder)
    many = LEARNED + BATCHES
    x, y = splits.train.inputs[: many * BATCH], splits.train.targets[: many * BATCH]
    shape = (many, BATCH, 1, 28, 28)
    batch = Batch(jnp.asarray(np.asarray(x)).reshape(shape), jnp.asarray(y).reshape(many, BATCH))
    first = jax.tree.map(lambda leaf: leaf[:LEARNED], batch)
    return first, jax.tree.map(lambda leaf: leaf[LEARNED:], batch)


def whole(
    system: ConvolutionalFeedforward, rule: AbstractRule, stacked: Batch
) -> tuple[Call, PyTree]:
    """Returns a call of one step for each batch, and what the solves were like."""

    def step(total: Any, batch: Batch) -> tuple[Any, Any]:
        moved = eqx.tree_at(lambda s: s.dense[-1].bias, system, system.dense[-1].bias + total)
        credit = rule(moved, None, batch)
        used = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(credit.gradient))
        return 1e-12 * used, credit.solution.stats

    program = jax.jit(lambda xs: jax.lax.scan(step, jnp.zeros(()), xs)).lower(stacked).compile()
    return lambda: jax.block_until_ready(program(stacked)), program(stacked)[1]


def parts(system: ConvolutionalFeedforward, stacked: Batch) -> dict[str, Call]:
    """Returns calls of a sweep's parts, each with everything in it that the one above it has."""
    batch = jax.tree.map(lambda leaf: leaf[0], stacked)
    samples = Sample(jax.vmap(system.drive)(batch.inputs), batch.targets)
    problem = KinkedSweepProblem(ControlProblem(system, CrossEntropy(), LEAK), system, Tolerance())
    sweep = lambda sample, z: problem.iterate(sample, z)[0]  # noqa: E731
    start = jax.vmap(problem.initial)(samples)
    for _ in range(2):
        start = jax.jit(jax.vmap(sweep))(samples, start)

    def products(sample: Sample, z: Any) -> Any:
        read = lambda control: system.readout(system.settle(sample.drive, control))  # noqa: E731
        _, pull = jax.vjp(read, z.point.control)
        return z._replace(point=z.point._replace(control=pull(z.point.output_control)[0]))

    def settled(sample: Sample, z: Any) -> Any:
        settled = system.settle_by_signals(sample.drive, z.signals, z.point.state)
        u = z.point.output_control + 1e-9 * settled.read
        signals, control, _ = settled.answer(u, z.point.control, problem.stiffness)
        return z._replace(
            point=z.point._replace(state=settled.state, control=control), signals=signals
        )

    def running(sample: Sample, progress: Any) -> Any:
        return advance(problem, ENDLESS, sample, progress)

    progress = Progress.first(start, None, BATCH, jnp.float32)

    def loop(step: Callable, start: PyTree) -> Call:
        repeat = lambda samples, start: jax.lax.fori_loop(  # noqa: E731
            0, REPEATS, lambda _, z: jax.vmap(step)(samples, z), start
        )
        program = jax.jit(repeat).lower(samples, start).compile()
        return lambda: jax.block_until_ready(program(samples, start))

    return {
        "forward and back, without kinks": loop(products, start),
        "forward and back on kinks": loop(settled, start),
        "the same, with the output control and residuals": loop(sweep, start),
        "a sweep inside the driver": loop(running, progress),
    }


def solves(system: ConvolutionalFeedforward, stacked: Batch) -> list[dict[str, Any]]:
    """Returns a row for each kind of sweep: how many samples it solves, and in how many sweeps."""
    inputs, targets = (
        leaf.reshape(-1, *leaf.shape[2:]) for leaf in (stacked.inputs, stacked.targets)
    )
    samples = Sample(jax.vmap(system.drive)(inputs), targets)
    stiff = KinkedSweepProblem(ControlProblem(system, CrossEntropy(), LEAK), system, Tolerance())
    zeros = jax.tree.map(jnp.zeros_like, stiff.stiffness)
    plain = eqx.tree_at(lambda problem: problem.stiffness, stiff, zeros)
    rows = []
    for name, problem, memory in (
        ("with the stiffness", stiff, 1),
        ("without", plain, 1),
        ("without, eight mixed", plain, 8),
    ):
        solver = FixedPoint(MOST_SWEEPS, memory=memory)
        solve = jax.jit(lambda samples, p=problem, s=solver: run(p, s, samples)[1:])
        steps, error = map(np.asarray, solve(samples))
        solved = error <= 1
        mean = float(steps[solved].mean())
        rows.append({"sweeps": name, "solved": float(solved.mean()), "sweeps_mean": mean})
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder with Fashion-MNIST's files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    on_one_core()
    first, stacked = batches(given.data_dir)
    fresh = ConvolutionalFeedforward(
        (1, 28, 28), STRIDED_CONVOLUTIONS, (48,), 10, key=jax.random.key(0)
    )
    system = learned(fresh, Backpropagation(), first)
    calls, solved = {}, {}
    for name, weights in (("first weights", fresh), (f"{LEARNED} steps", system)):
        base, _ = whole(weights, Backpropagation(), stacked)
        control, solved[name] = whole(weights, LeastControl(DynamicInversion(), LEAK), stacked)
        calls[f"a step of backpropagation, {name}"] = (base, BATCHES)
        calls[f"a step of least control, {name}"] = (control, BATCHES)
    calls |= {name: (call, REPEATS) for name, call in parts(system, stacked).items()}
    times = timed(calls, ROUNDS)
    figures = {
        "parts": rows_of(times),
        "states": [
            of_solves(name, times, np.asarray(stats.steps), np.asarray(stats.error))
            for name, stats in solved.items()
        ],
        "kinds": solves(system, stacked),
        "most_sweeps": MOST_SWEEPS,
        "batch_size": BATCH,
        "samples": BATCHES * BATCH,
        "leak": LEAK,
    }
    print({name: value for name, value in figures.items() if name != "parts"})
    if given.json is not None:
        write_json(given.json, {**figures, **origin()})


if __name__ == "__main__":
    main()
