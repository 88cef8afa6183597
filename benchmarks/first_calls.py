"""Times what a person waits for: first calls, and the overhead of later ones.

    python benchmarks/first_calls.py --json results/first-calls.json

A first call is timed in a process of its own, after the imports, without kept compilations, for

* the README's example of least control;
* a step of `LeastControl` with its `Automatic` controller, as in training, where the safeguard is
  compiled when a batch needs it;
* that step with the safeguard inside, as in a program of one's own;
* a step with `DynamicInversion`;
* a step of backpropagation, or of recurrent backpropagation;
* the first epoch of a training on digits, with its evaluation.

The steps are those of a network of 784-256-256-10, of 50 residual blocks of 64 and of a recurrent
network of 784-256-10, for a batch of 64. The median of the repeats is shown, with the processor's
time beside it, since on a busy machine only that says anything.

Overhead is what a call of `settle` or of an estimator takes beyond the same call under `jax.jit`:
1 000 calls of one signature with arrays made anew, for `settle` with a function made anew too, in
turns with the jitted ones. How often f is traced in them is counted inside f.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _origin import origin

import leastcontrol as lc
from leastcontrol import data, training
from leastcontrol.files import write_json
from leastcontrol.rules import without_safeguard

BATCH = 64
CALLS = 1000
# Seconds that are allowed for a first call, and milliseconds for the overhead of one.
BARS = {
    "README": 3.0,
    "784-256-256-10, automatic": 6.0,
    "784-256-256-10, dynamic inversion": 3.75,
    "50 blocks, automatic": 8.0,
    "50 blocks, dynamic inversion": 4.4,
    "recurrent, automatic": 4.75,
    "recurrent, dynamic inversion": 2.5,
    "digits, an epoch of training": 3.0,
}
OVERHEAD = 1.0
TRACES: list[None] = []


def readme_arguments(shift: float = 0.0) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Makes the params, inputs and targets of the README's example."""
    params = {"W": jnp.eye(16) / 2, "U": jnp.ones((16, 4)) / 4, "D": jnp.ones((2, 16)) / 16}
    return params, jnp.ones((32, 4)) + shift, jnp.zeros((32, 2))


def field(params: dict[str, jax.Array], state: jax.Array, x: jax.Array) -> jax.Array:
    """Computes the README's f, and counts that it was traced."""
    TRACES.append(None)
    return jnp.tanh(params["W"] @ state + params["U"] @ x) - state


def readout(params: dict[str, jax.Array], state: jax.Array) -> jax.Array:
    """Computes the README's output."""
    return params["D"] @ state


def estimator() -> Callable[..., tuple[jax.Array, Any, lc.Solution]]:
    """Makes the README's estimator."""
    return lc.least_control(field, readout, lc.SquaredError(), start=jnp.zeros(16))


def settled(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Settles the README's f, by a function that is made anew."""
    f = lambda params, state, x: field(params, state, x)  # noqa: E731
    return lc.settle(f, params, x, start=jnp.zeros(16)).value


def by_readme() -> Any:
    """Calls the README's estimator."""
    return estimator()(*readme_arguments())


def by_rule(system: lc.AbstractSystem, rule: lc.AbstractRule) -> Any:
    """Takes the step of a rule for a batch."""
    inputs = jax.random.normal(jax.random.key(1), (BATCH, 784))
    batch = lc.Batch(inputs, jnp.arange(BATCH) % 10)
    feedback = rule.init(system, key=jax.random.key(2))
    credit = eqx.filter_jit(lambda rule, *arguments: rule(*arguments))(
        rule, system, feedback, batch
    )
    return eqx.filter((credit.gradient, credit.objective), eqx.is_array)


def network() -> lc.AbstractSystem:
    """Makes the network of 784-256-256-10."""
    return lc.Feedforward(784, (256, 256), 10, key=jax.random.key(0))


def blocks() -> lc.AbstractSystem:
    """Makes the 50 residual blocks."""
    return lc.dense_residual_network(784, 64, 50, 10, key=jax.random.key(0))


def recurrent() -> lc.AbstractSystem:
    """Makes the recurrent network of 784-256-10."""
    return lc.EquilibriumRNN(784, 256, 10, key=jax.random.key(0))


def by_training() -> Any:
    """Trains a network of 64-256-256-10 on digits for an epoch, as `leastcontrol train` does."""
    splits = data.load("digits")
    system = lc.Feedforward(64, (256, 256), 10, key=jax.random.key(0))
    config = training.TrainingConfig(epochs=1)
    trained = training.train(system, WHOLE, splits.train, splits.validation, config, seed=0)
    return eqx.filter(trained.system, eqx.is_array)


WHOLE = lc.LeastControl(lc.Automatic(), lc.LeakyIntegral(0.3))
FIRST_PART = without_safeguard(WHOLE)
INVERSION = lc.LeastControl(lc.DynamicInversion(), lc.LeakyIntegral(0.3))
CASES: dict[str, Callable[[], Any]] = {
    "README": by_readme,
    "784-256-256-10, automatic": lambda: by_rule(network(), FIRST_PART),
    "784-256-256-10, with its safeguard": lambda: by_rule(network(), WHOLE),
    "784-256-256-10, dynamic inversion": lambda: by_rule(network(), INVERSION),
    "784-256-256-10, backpropagation": lambda: by_rule(network(), lc.Backpropagation()),
    "50 blocks, automatic": lambda: by_rule(blocks(), FIRST_PART),
    "50 blocks, with its safeguard": lambda: by_rule(blocks(), WHOLE),
    "50 blocks, dynamic inversion": lambda: by_rule(blocks(), INVERSION),
    "50 blocks, backpropagation": lambda: by_rule(blocks(), lc.Backpropagation()),
    "recurrent, automatic": lambda: by_rule(recurrent(), FIRST_PART),
    "recurrent, with its safeguard": lambda: by_rule(recurrent(), WHOLE),
    "recurrent, dynamic inversion": lambda: by_rule(recurrent(), INVERSION),
    "recurrent, recurrent backpropagation": lambda: by_rule(
        recurrent(), lc.RecurrentBackpropagation()
    ),
    "digits, an epoch of training": by_training,
}


def time_case(name: str) -> None:
    """Times one first call in this process, and prints its seconds as JSON."""
    jax.block_until_ready(jnp.ones(3) + 1)
    began, before = time.perf_counter(), time.process_time()
    jax.block_until_ready(CASES[name]())
    print(json.dumps([time.perf_counter() - began, time.process_time() - before]))


def first_calls(repeats: int) -> dict[str, dict[str, Any]]:
    """Times every first call in processes of their own."""
    rows = {}
    environment = {n: v for n, v in os.environ.items() if not n.startswith("JAX_COMPILATION")}
    for name in CASES:
        command = [sys.executable, __file__, "--case", name]
        timings = [
            json.loads(
                subprocess.run(command, env=environment, capture_output=True, check=True).stdout
            )
            for _ in range(repeats)
        ]
        wall, processor = zip(*timings, strict=True)
        rows[name] = {
            "seconds": statistics.median(wall),
            "seconds_range": [min(wall), max(wall)],
            "processor_seconds": statistics.median(processor),
            "bar_seconds": BARS.get(name),
        }
        print(name, rows[name], flush=True)
    return rows


def overhead(name: str, call: Callable[..., Any]) -> dict[str, Any]:
    """Times calls of one signature in turns with the same under `jax.jit`."""
    compiled = jax.jit(call)
    arguments = [readme_arguments(shift) for shift in np.linspace(0, 1e-3, CALLS)]
    jax.block_until_ready((call(*arguments[0]), compiled(*arguments[0])))
    before = len(TRACES)
    called, stepped = [], []
    for given in arguments:
        for run, times in ((call, called), (compiled, stepped)):
            began = time.perf_counter()
            jax.block_until_ready(run(*given))
            times.append(time.perf_counter() - began)
    quartiles = np.quantile(1e3 * (np.asarray(called) - np.asarray(stepped)), (0.25, 0.5, 0.75))
    row = {
        "calls": CALLS,
        "retraces": len(TRACES) - before,
        "milliseconds": 1e3 * statistics.median(called),
        "compiled_milliseconds": 1e3 * statistics.median(stepped),
        "overhead_milliseconds": [float(q) for q in quartiles],
        "bar_milliseconds": OVERHEAD,
    }
    print(name, row, flush=True)
    return row


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    parser.add_argument("--case", choices=CASES, help="time one first call in this process")
    given = parser.parse_args()
    if given.case is not None:
        time_case(given.case)
        return
    estimate = estimator()
    rows = {
        "overhead": {
            "settle": overhead("settle", lambda params, x, _: settled(params, x)),
            "least_control": overhead("least_control", lambda *given: estimate(*given)[:2]),
        },
        "first_calls": first_calls(given.repeats),
    }
    if given.json is not None:
        write_json(given.json, {**rows, "load": os.getloadavg()[0], **origin()})


if __name__ == "__main__":
    main()
