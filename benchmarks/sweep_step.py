"""Where the time of a step of least control on a feedforward network goes.

    python benchmarks/sweep_step.py --json results/profile-feedforward.json

Whole steps of 784-256-256-10 on MNIST, at its first weights and after 800 steps of least control,
and parts of a solve at the latter: the products of a sweep alone, a whole sweep, and the same for a
group of an eighth of the batch, in which the last samples are gathered.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin
from _profile import Call, learned, of_solves, on_one_core, rows_of, timed

from leastcontrol import data
from leastcontrol.bench.timing import compile_step
from leastcontrol.controllers import DynamicInversion
from leastcontrol.equilibrium import ControlProblem, FixedPoint, Sample, SweepProblem, Tolerance
from leastcontrol.equilibrium._driver import Progress, advance
from leastcontrol.files import write_json
from leastcontrol.losses import CrossEntropy
from leastcontrol.rules import Backpropagation, Batch, LeastControl
from leastcontrol.systems import Feedforward

BATCH, LEAK, LEARNED = 64, 6.4, 800
GROUP = BATCH // 8
BATCHES, REPEATS, ROUNDS = 16, 50, 21
ENDLESS = FixedPoint(max_steps=2**30)
KEY = jax.random.key(0)


def batches(folder: Path | None) -> tuple[Batch, Batch]:
    """Returns batches to learn from, and others to measure with."""
    train = data.load("mnist", data_dir=folder).train
    many = LEARNED + BATCHES
    x, y = np.asarray(train.inputs[: many * BATCH]), train.targets[: many * BATCH]
    batch = Batch(jnp.asarray(x).reshape(many, BATCH, 784), jnp.asarray(y).reshape(many, BATCH))
    first = jax.tree.map(lambda leaf: leaf[:LEARNED], batch)
    return first, jax.tree.map(lambda leaf: leaf[LEARNED:], batch)


def parts(system: Feedforward, stacked: Batch) -> dict[str, Call]:
    """Returns calls of the parts of a sweep."""
    problem = SweepProblem(ControlProblem(system, CrossEntropy(), LEAK), system, Tolerance())
    samples = Sample(jax.vmap(system.drive)(stacked.inputs[0]), stacked.targets[0])

    def products(sample: Sample, z: Any) -> Any:
        read = lambda control: system.readout(system.settle(sample.drive, control))  # noqa: E731
        _, pull = jax.vjp(read, z.point.control)
        return z._replace(point=z.point._replace(control=pull(z.point.output_control)[0]))

    def sweep(sample: Sample, z: Any) -> Any:
        return problem.iterate(sample, z)[0]

    def running(sample: Sample, progress: Any) -> Any:
        return advance(problem, ENDLESS, sample, progress)

    def loop(step: Callable, start: Callable, count: int) -> Call:
        chosen = jax.tree.map(lambda leaf: leaf[:count], samples)
        repeat = lambda samples, start: jax.lax.fori_loop(  # noqa: E731
            0, REPEATS, lambda _, z: jax.vmap(step)(samples, z), start
        )
        first = start(chosen, count)
        program = jax.jit(repeat).lower(chosen, first).compile()
        return lambda: jax.block_until_ready(program(chosen, first))

    def at(chosen: Sample, count: int) -> Any:
        z = jax.vmap(problem.initial)(chosen)
        for _ in range(2):
            z = jax.jit(jax.vmap(sweep))(chosen, z)
        return z

    def progress(chosen: Sample, count: int) -> Progress:
        return Progress.first(at(chosen, count), None, count, jnp.float32)

    return {
        "the products of a sweep": loop(products, at, BATCH),
        "a sweep": loop(sweep, at, BATCH),
        "a sweep inside the driver": loop(running, progress, BATCH),
        f"the products of a sweep of {GROUP} samples": loop(products, at, GROUP),
        f"a sweep of {GROUP} samples inside the driver": loop(running, progress, GROUP),
    }


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST's files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    on_one_core()
    first, stacked = batches(given.data_dir)
    fresh = Feedforward(784, (256, 256), 10, key=KEY)
    system = learned(fresh, LeastControl(DynamicInversion(), LEAK), first)
    inputs, targets, _ = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), stacked)
    calls, solves = {}, {}
    for name, weights in (("first weights", fresh), (f"{LEARNED} steps", system)):
        for rule, what in (
            (Backpropagation(), "backpropagation"),
            (LeastControl(DynamicInversion(), LEAK), "least control"),
        ):
            step = compile_step(weights, rule, stacked, KEY)
            calls[f"a step of {what}, {name}"] = (step.call, BATCHES)
        problem = ControlProblem(weights, CrossEntropy(), LEAK)
        solve = jax.jit(lambda samples, p=problem: DynamicInversion().equilibrium(p, samples).stats)
        solves[name] = solve(Sample(jax.vmap(weights.drive)(inputs), targets))
    calls |= {name: (call, REPEATS) for name, call in parts(system, stacked).items()}
    times = timed(calls, ROUNDS)
    figures = {
        "parts": rows_of(times),
        "states": [
            of_solves(name, times, np.asarray(stats.steps), np.asarray(stats.error))
            for name, stats in solves.items()
        ],
        "batch_size": BATCH,
        "leak": LEAK,
    }
    print(figures["states"])
    if given.json is not None:
        write_json(given.json, {**figures, **origin()})


if __name__ == "__main__":
    main()
